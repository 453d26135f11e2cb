"""Words spoken in place of symbols, by language."""

from __future__ import annotations

from chinwag.language import primary_subtag
from chinwag.text.speakable.reader import SymbolNames

SYMBOL_NAMES = {
    "de": SymbolNames("Punkt", "at", "etwa", "Nummer", "bis", "hoch", "durch", "(Den Code lasse ich aus.)"),
    "es": SymbolNames("punto", "arroba", "unos", "número", "a", "elevado a", "entre", "(Omito el código.)"),
    "fr": SymbolNames("point", "arobase", "environ", "numéro", "à", "puissance", "sur", "(Je passe le code.)"),
    "hi": SymbolNames("डॉट", "ऐट", "लगभग", "नंबर", "से", "की घात", "बटा", "(कोड छोड़ दिया गया है।)"),
    "it": SymbolNames("punto", "chiocciola", "circa", "numero", "a", "elevato a", "fratto", "(Salto il codice.)"),
    "ja": SymbolNames("ドット", "アットマーク", "約", "番号", "から", "の累乗", "割る", "(コードは省きます。)"),
    "pt": SymbolNames("ponto", "arroba", "cerca de", "número", "a", "elevado a", "sobre", "(Deixo o código de fora.)"),
    "zh": SymbolNames("点", "艾特", "大约", "号", "到", "的次方", "除以", "(代码略过。)"),
}


def symbol_names_for(language: str | None) -> SymbolNames:
    """Return a language's words for symbols; the English ones if it has none."""
    return SYMBOL_NAMES.get(primary_subtag(language)) or SymbolNames()
