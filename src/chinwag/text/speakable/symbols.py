"""What is said in place of a symbol, by language."""

from __future__ import annotations

from chinwag.language import base
from chinwag.text.speakable.reader import Words

WORDS = {
    "de": Words("Punkt", "at", "etwa", "Nummer", "bis", "hoch", "durch", "(Den Code lasse ich aus.)"),
    "es": Words("punto", "arroba", "unos", "número", "a", "elevado a", "entre", "(Omito el código.)"),
    "fr": Words("point", "arobase", "environ", "numéro", "à", "puissance", "sur", "(Je passe le code.)"),
    "hi": Words("डॉट", "ऐट", "लगभग", "नंबर", "से", "की घात", "बटा", "(कोड छोड़ दिया गया है।)"),
    "it": Words("punto", "chiocciola", "circa", "numero", "a", "elevato a", "fratto", "(Salto il codice.)"),
    "ja": Words("ドット", "アットマーク", "約", "番号", "から", "の累乗", "割る", "(コードは省きます。)"),
    "pt": Words("ponto", "arroba", "cerca de", "número", "a", "elevado a", "sobre", "(Deixo o código de fora.)"),
    "zh": Words("点", "艾特", "大约", "号", "到", "的次方", "除以", "(代码略过。)"),
}


def words_in(language: str | None) -> Words:
    """Its words for symbols; the English ones where none are known."""
    return WORDS.get(base(language)) or Words()
