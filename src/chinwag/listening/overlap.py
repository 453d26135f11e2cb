"""Decides what speech during a reply is: an interruption, or something that passes, such as "mm-hmm" or a cough.

The words come from a transcriber that has heard a fraction of a second. What Moonshine tiny writes then was looked at
for 191 pieces said by Kokoro voices, cut at 0.2 to 0.7 s (and coughs, hums and hisses): before 0.4 s it is as often
invention as not, mostly loops ("No, no, no, no", "Ok, Ok, Ok") at a confidence below 0.7; hums come out as any short
word ("Mum.", "Him.", "No,"); noise comes out as "You", "Thank you." or "So". Real clauses reach 0.75 by 0.5 s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chinwag.language import normalised_words

Verdict = Literal["undecided", "interrupts", "passing"]
InterruptionMode = Literal["off", "words", "speech"]

SETTLED_S = 0.2
"""Silence after which a backchannel was all they said: the pause inside "yeah, but …" is seldom longer."""

WORDLESS_S = 0.45
"""Silence to wait for words that are still on their way: finding them takes some 100 ms, on a busy machine 300."""

BACKCHANNEL_LONGEST_S = 0.95
"""Voice: of 120 spoken backchannels, 95 % were shorter ("oh really", said slowly, is 0.93 s)."""

LONG_S = 1.2
"""Voice: whoever speaks for so long, and words, wants to say something."""

ENDLESS_S = 2.5
"""Voice: nothing but a person goes on so long, even where the transcriber finds no words or has failed."""

SURE, LIKELY, CALLED, GUESS, ONLY_CALLS = 0.75, 0.6, 0.5, 0.45, 0.35
"""Confidence: of a clause, as real ones reach at 0.5 s; of a short word that was really said; of several words with a
call at their beginning or end ("Weight stop." had 0.58); below it, invention; of nothing but calls, two at least, which
is never invented ("Wait, stop." had 0.45 to 0.60)."""

OWN_SHARE = 0.7
"""Of the words, in order, that also stand in the reply: a transcript of its echo has a word in four wrong."""

_BACKCHANNELS = """
m|mm|mmm|hm|hmm|mhm|mhmm|um hum|um hm|mm hm|mm hmm|uh huh|ah ha|aha|huh|emm|yeah|yea|yep|yup|yes|yah|ya|yo|yes sir
|right|all right|alright|okay|o k|ok|i see|i say|i know|i get it|i understand|got it|gotcha|understood|sure
|sure thing|for sure|of course
|oh|o|ah|ooh|wow|really|oh really|no way|no kidding|seriously|is that so|is it|great|good|very good|that is good
|nice|cool|fine|perfect|super
|excellent|wonderful|awesome|amazing|fantastic|lovely|brilliant|exactly|absolutely|definitely|totally|indeed|true
|very true
|that is true|that is right|that is it|correct|interesting|interestingly|that is interesting|how interesting
|fair enough|fair|makes sense
|make sense|that makes sense|good to know|thanks|thank you|very nice|not bad|goodness|my goodness|oh my|oh dear
|oh no|haha|ha|ha ha
|ja|jaja|genau|stimmt|klar|ach so|achso|aha|gut|sehr gut|okay gut|verstehe|alles klar|richtig|echt|schön|danke
|natürlich|eben
|oui|ouais|d accord|bien sûr|ah bon|c est vrai|je vois|très bien|bien|voilà|exactement|merci|vraiment|super
|tout à fait|c est ça
|sí|si|claro|vale|ya veo|entiendo|de acuerdo|bueno|bien|muy bien|exacto|cierto|verdad|gracias|ajá|perfecto|ah sí
|por supuesto
|certo|capisco|va bene|bene|esatto|giusto|davvero|grazie|ho capito|d accordo|perfetto|già|ecco
|sim|pois|pois é|claro|certo|entendi|tá|tá bom|está bem|exato|verdade|obrigado|obrigada|isso|beleza|legal
|हाँ|हां|जी|जी हाँ|जी हां|अच्छा|ठीक है|ठीक|सही|हम्म|समझ गया|समझ गई|बिल्कुल|वाह
|嗯|嗯嗯|对|对对|是|是的|是啊|好|好的|好吧|哦|噢|啊|明白|明白了|知道了|了解|真的|没错|原来如此|有意思
|はい|うん|ええ|そう|そうですね|そうですか|そうですよね|なるほど|へえ|へー|ほんと|本当|本当に|わかりました|了解|ああ|うんうん|たしかに|確かに
"""

_FILLERS = (
    "um|umm|uhm|uh|uhh|er|erm|eh|em|hem|so|and|well|like|äh|ähm|hm also|euh|este|えっと|えーと|あの|あのー"
    "|那个|这个|呃|मतलब|तो"
)

_CALLS = """
stop|stop it|please stop|wait|wait a minute|hold on|hang on|pause|enough|that is enough|shut up|be quiet|quiet
|cancel|never mind|excuse me|sorry|pardon|hey|but
|question|actually|what|why|who|where|when|which|how|repeat|again|louder|slower|shorter|next|skip|hello|help
|halt|stopp|warte|moment|moment mal|einen moment|nein|aber|genug|arrête|arrêtez|attends|attendez|non|mais|stoppe
|para|espera|espere|pero|aspetta|fermati
|basta|ferma|mas|espera aí|pare|रुको|रुकिए|बस|चुप|ठहरो
|停|停下|等等|等一下|别说了|不对|不是|待って|ちょっと待って|ストップ|やめて|違う|止めて
"""
"""Short, and yet meant to be heard at once."""

_MISHEARD = """
him|hum|hem|mum|mom|mem|men|amen|mud|my|me|come|number|emerald|name|yet|you|yours|sore|sour|saw|shaw|god|greater
|gray|grey|four|three|two|too|nine|drew|grow
|bye|lord|i|a|an|the|them|then|than|that|this|on|in|one|or|her|ear|here|mother|do|dear|very|thou|your|pick|exact
|rights|rites|rite|now|woe|oon|go|to men|to me|that her|as i|if i|o her
|you know|well|good bye|bye bye
"""
"""What the transcriber wrote for hums, coughs and backchannels: short and alone, such a word is probably not one."""


def _phrases(text: str) -> dict[tuple[str, ...], None]:
    return {tuple(normalised_words(phrase)): None for phrase in text.replace("\n", "").split("|")}


BACKCHANNELS, FILLERS, CALLS, MISHEARD = map(_phrases, (_BACKCHANNELS, _FILLERS, _CALLS, _MISHEARD))
BEGUN = {phrase[:n] for phrase in BACKCHANNELS for n in range(1, len(phrase))}
"""Backchannels that are not all said yet, such as "that is"."""
LONGEST_PHRASE = max(len(phrase) for phrase in (*BACKCHANNELS, *FILLERS, *CALLS))
NO = ("no",)

_SHORT = {"that's": "that is", "it's": "it is", "what's": "what is", "ok": "okay"}
_TO_DAY = re.compile(r"\bto-(day|night|morrow)\b")
"""As Moonshine writes them."""
_SOUNDS = re.compile(r"m+h+m*|h+m+|m+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Speech while a reply is heard, as far as it is known now.

    words: its live transcript, "" as long as there is none. confidence: the transcriber's, 0 to 1.
    spoken_s: from its onset to its last voiced sample. silence_s: since then.
    reply_words: the reply's text around the place that is being heard, about a dozen words to either side; "" where no
    echo is to be feared, as with headphones, for then the reply's words are repeated by a person.
    final: the words hold all that sounded; live ones of half a word are often invention ("Waitstop," at 0.46).
    """

    text: str
    spoken_s: float
    silence_s: float
    confidence: float = 1.0
    reply_words: str = ""
    final: bool = True


def judge_overlap(overlap: Overlap, mode: InterruptionMode = "words") -> Verdict:
    """What it is. Ask again with every frame and every new transcript until it is decided.

    mode: "off": nothing interrupts. "words": see the module. "speech": anything that counts as speech does, at once.
    """
    if mode != "words":
        return "interrupts" if mode == "speech" else "passing"
    said = comparable_words(overlap.text)
    spoken, confidence = overlap.spoken_s, overlap.confidence
    settled = overlap.silence_s >= (SETTLED_S if said and overlap.final else WORDLESS_S)
    if not said or (confidence < (ONLY_CALLS if _only_calls(said) else GUESS) and spoken < LONG_S):
        if spoken >= ENDLESS_S:
            return "interrupts"
        return "passing" if settled else "undecided"
    rest = _without_opening(said)
    if not rest or _own(said, comparable_words(overlap.reply_words), confidence):
        return "passing" if settled else "undecided"
    unfinished = not settled and spoken < BACKCHANNEL_LONGEST_S and tuple(rest) in BEGUN
    if not unfinished and _interrupts(said, rest, overlap, settled=settled):
        return "interrupts"
    return "passing" if settled else "undecided"


def _interrupts(said: Sequence[str], rest: Sequence[str], overlap: Overlap, *, settled: bool) -> bool:
    """rest: the words behind the backchannels and fillers they begin with."""
    spoken, confidence = overlap.spoken_s, overlap.confidence
    if spoken >= LONG_S:
        return True
    if spoken > BACKCHANNEL_LONGEST_S and confidence >= GUESS and len(rest) > 1:
        return True
    if tuple(rest) == NO:  # which is also what hums are written as
        return settled and confidence >= 0.7 and spoken >= 0.35
    if _begins(rest, CALLS) and confidence >= LIKELY and spoken >= 0.3:
        return True
    called = len(rest) > 1 and (_begins(rest, CALLS) or tuple(rest[-1:]) in CALLS)
    if called and settled and confidence >= (ONLY_CALLS if _only_calls(said) else CALLED) and spoken >= 0.3:
        return True
    if tuple(rest) in MISHEARD:
        return False
    if len(rest) > 1:
        return confidence >= (SURE if spoken < BACKCHANNEL_LONGEST_S and not settled else 0.68) and spoken >= 0.3
    return settled and confidence >= (SURE if spoken >= 0.45 else 0.9)


def comparable_words(text: str) -> list[str]:
    """Its words in lower case, hums as "mm", loops taken out: "No, no, no, I" is no, i."""
    said: list[str] = []
    for word in normalised_words(_TO_DAY.sub(r"to\1", text.lower())):
        parts = _SHORT.get(word, word).replace("'", " ").split()
        said += ["mm" if _SOUNDS.fullmatch(part) else part for part in parts]
    for period in range(1, 7):
        at = 0
        while at + 2 * period <= len(said):
            if said[at : at + period] == said[at + period : at + 2 * period]:
                del said[at : at + period]
            else:
                at += 1
    return said


def _without_opening(said: Sequence[str]) -> list[str]:
    """What is left behind all backchannels and fillers at its beginning."""
    return _without(said, BACKCHANNELS, FILLERS)


def _only_calls(said: Sequence[str]) -> bool:
    """Two words or more, all of them calls."""
    return len(said) > 1 and not _without(said, CALLS)


def _without(said: Sequence[str], *kinds: dict[tuple[str, ...], None]) -> list[str]:
    """What is left behind all such phrases at its beginning."""
    rest = list(said)
    while length := next(filter(None, (_begins(rest, phrases) for phrases in kinds)), 0):
        del rest[:length]
    return rest


def _begins(said: Sequence[str], phrases: dict[tuple[str, ...], None]) -> int:
    """How many words the longest of the phrases takes at the beginning."""
    return next((n for n in range(min(LONGEST_PHRASE, len(said)), 0, -1) if tuple(said[:n]) in phrases), 0)


def _own(said: Sequence[str], reply: Sequence[str], confidence: float) -> bool:
    """They are the reply's words, in its order (the longest common subsequence)."""
    if not reply or (len(said) == 1 and (tuple(said) in CALLS or tuple(said) == NO)):
        return False
    row = [0] * (len(reply) + 1)
    for word in said:
        before = row
        row = [0]
        for place, other in enumerate(reply):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return row[-1] >= OWN_SHARE * len(said)
