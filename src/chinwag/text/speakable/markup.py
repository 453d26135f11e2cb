"""Patterns and tables of marks, addresses and pictographs for `Speakable`.

Patterns that look ahead are bounded, so that an unterminated construct costs no more than a terminated one. Patterns
named ..._AHEAD match text that may still become the construct.
"""

from __future__ import annotations

import re


def word_set(text: str) -> frozenset[str]:
    """Return the set of words in a string."""
    return frozenset(text.split())


NEWLINES = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
SPACE = re.compile(rf"[{NEWLINES}]|[^\S{NEWLINES}\u00a0\u202f]+")
"""A newline or a run of spaces. No-break spaces count as letters, so that "10 000" and "Quoi ?" stay together."""

# Unicode has no Emoji property in the standard library. These blocks hold pictures, arrows, boxes and dingbats;
# "♭" and "♯" are not among them: a musician says them.
_PICTURES = (
    "\u2190-\u21ff\u2300-\u23ff\u2500-\u266c\u2670-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff"
)
# Variation selectors, tags, soft hyphens, directions, controls, private letters, halves of surrogates.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\u00ad\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffd\ud800-\uf8ff\U000e0000-\U0010ffff"
)
_MARKS = r"\\`*_~#\[\]!<>&@|{}^$.\-=:;•→⇒\u200d\u20e3"
PICTURES = re.compile(f"[{_PICTURES}]")
PLAIN = re.compile(rf"[^\s{_MARKS}{_PICTURES}{_INVISIBLE}]+|[\u00a0\u202f]+")

FOLLOWS = ".,;:!?…。，、！？；：।"
"""Punctuation that stands right after a word."""
ENDS = ".,;:!?…。，、！？；：।॥—؟،"
"""Punctuation after which no full stop is needed."""
CLOSERS = "\"'”’)]»」』）】》〉›"

# Lines
MAX_PREFIX = 80
PREFIX = re.compile(rf"[ \t>|:\-=*_+#~`•◦▪●‣–—→]{{0,{MAX_PREFIX}}}")
HEADING = re.compile(r"#[ \t]+[*_~`]*$|#[*_~`]+$")
BULLET = re.compile(r"(?:^|[ \t>])[-*+•◦▪●‣–][ \t]+[*_~`]*$")
FENCE = re.compile(r"`{3,}|~{3,}")
MAX_INFO = 100
INFO = re.compile(rf"[^\n`]{{0,{MAX_INFO}}}")
CODE_INDENT = re.compile(r"[ \t>]{0,40}")
CODE_FENCE = re.compile(r"`{1,80}|~{0,80}")
DIGITS = re.compile(r"[0-9]+")
AFTER_NUMBER = re.compile(r"[*_`]{0,4}")

# Addresses
MAX_HOST = 200
ADDRESS = re.compile(r"(?<![^\W_])(?:https?|htt?|h|w{1,3})$", re.IGNORECASE)
"""The beginning of an address at the end of a run of letters."""
HOST = re.compile(rf"[A-Za-z0-9._\-\u00c0-\u052f]{{0,{MAX_HOST}}}")
LABELS = re.compile(r"\.[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9][A-Za-z0-9_-]*)*")
DOMAINS = word_set(
    "com org net edu gov int io ai app dev info biz tech cloud online site blog wiki xyz tv fm gg "
    "uk de fr nl es pt br ca au jp cn kr ru ch se pl eu nz ie dk fi cz gr"
)
"""Top-level domains that are not mistaken for a missing space ("home.it is") or a file name ("main.rs")."""
_ENDS_PATH = r"\s<>\"`\u2e80-\U0010ffff"
_PATH_MARK = r".,;:!?'\")\]}*_~…"
MAX_PATH_MARKS = 32
PATH_MARKS = re.compile(rf"[{_PATH_MARK}]{{0,{MAX_PATH_MARKS}}}")
PATH = re.compile(
    rf"(?:[^{_ENDS_PATH}{_PATH_MARK}]+"
    rf"|[{_PATH_MARK}]{{1,{MAX_PATH_MARKS - 1}}}(?=[^{_ENDS_PATH}{_PATH_MARK}]))+"
)
"""The rest of an address; punctuation belongs to it only if more of the address follows."""
PARENTHESES = re.compile(r"[()\n]")

# Faces made of punctuation, and :shortcodes:
FACE = re.compile(r"[:;]-?[()DPp](?!\w)|:[a-z][a-z0-9_+-]{1,30}:")
FACE_AHEAD = re.compile(r"[:;]-?[()DPp]?\Z|:[a-z][a-z0-9_+-]{0,30}\Z")

# Marks inside a line
STARS = re.compile(r"\*{1,3}")
TILDES = re.compile(r"~{1,3}")
HYPHENS = re.compile(r"-{1,3}|={1,3}")
DOLLARS = re.compile(r"\${1,2}")
AMOUNT = re.compile(r"[0-9][0-9.,]{0,24}")
CITATION = re.compile(r"\[\^?[1-9][0-9]{0,2}(?=\])")
CITATION_AHEAD = re.compile(r"\[\^?[0-9]{0,3}\Z")
BOX = re.compile(r"\[[ xX](?=\])")
BOX_AHEAD = re.compile(r"\[[ xX]?\Z")
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
ENTITY_AHEAD = re.compile(r"&(?:#(?:[0-9]{0,7}|[xX][0-9a-fA-F]{0,6})|(?:[A-Za-z][A-Za-z0-9]{0,30})?)\Z")

# Tags. A name in angle brackets that is not an HTML tag ("Dear <name>") is a word.
MAX_TAG = 300
_NAME = r"[A-Za-z][A-Za-z0-9-]{0,15}"
_ATTRIBUTES = r"""(?:\s+[\w:@.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=/]+))*"""
TAG = re.compile(rf"<(/?)({_NAME})({_ATTRIBUTES})\s*/?>")
TAG_AHEAD = re.compile(
    rf"""<(?:!-?|/?(?:{_NAME}(?:{_ATTRIBUTES}\s*(?:/|[\w:@.-]+\s*(?:=\s*(?:"[^"<>]*|'[^'<>]*|[^\s"'<>=]*))?)?)?)?)\Z"""
)
COMMENT_END = re.compile("-->")
HIDDEN_TAGS = {
    name: re.compile(f"</{name}>", re.IGNORECASE) for name in ("think", "thinking", "reasoning", "script", "style")
}
ITEM_TAGS = word_set("li h1 h2 h3 h4 h5 h6 tr dt dd")
BLOCK_TAGS = ITEM_TAGS | word_set("br p div ul ol dl hr table thead tbody blockquote pre section details summary")
CELL_TAGS = frozenset({"td", "th"})
INLINE_TAGS = word_set("a abbr b big code del em font i img ins kbd mark q s samp small span strong sub sup u var")

# LaTeX
COMMAND = re.compile(r"\\[A-Za-z]{1,20}")
LATEX = {
    "times": "times", "cdot": "times", "div": "divided by", "pm": "plus or minus", "leq": "is at most",
    "le": "is at most", "geq": "is at least", "ge": "is at least", "neq": "is not equal to", "ne": "is not equal to",
    "approx": "is about", "sqrt": "the square root of", "infty": "infinity", "rightarrow": "to", "sum": "the sum of",
    "int": "the integral of", "frac": "", "dfrac": "", "text": "", "mathrm": "", "mathbf": "", "boxed": "", "left": "",
    "right": "", "quad": "", "circ": "degrees", "ldots": "and so on", "dots": "and so on", "cdots": "and so on",
}  # fmt: skip
"""Spoken forms of common commands; others are spoken by their names (\\pi, \\alpha)."""


def is_cjk(char: str) -> bool:
    """Return whether a character is Chinese or Japanese, whose full stop is "。"."""
    return "\u2e80" <= char <= "\u9fff" or "\uf900" <= char <= "\uff9f" or "\U00020000" <= char <= "\U0003ffff"
