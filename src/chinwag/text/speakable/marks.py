"""Rules for marks inside a line. Each takes the reader and the mark's index; see `Reader`."""

from __future__ import annotations

import html
from collections.abc import Callable

from chinwag.text.speakable import markup
from chinwag.text.speakable.prose import Gap
from chinwag.text.speakable.reader import WAIT, Reader


def plain(reader: Reader, at: int, end: int) -> int:
    """Emit letters and other speakable text up to `end`, except for the possible start of an address."""
    run = reader.text[at:end]
    address = markup.ADDRESS.search(run)
    if not address or (address.start() == 0 and reader.prose.after_word):
        reader.prose.emit(run)
        return end
    if address.start():
        reader.prose.emit(run[: address.start()])
        return at + address.start()
    mark = "." if run[0] in "wW" else "://"
    ahead = reader.text[end : end + len(mark)]
    if not reader.final and mark.startswith(ahead) and ahead != mark:
        return WAIT
    if run.lower() in ("http", "https", "www") and ahead == mark:
        return reader.address(end + len(mark))
    reader.prose.emit(run)
    return end


def _dot(reader: Reader, at: int) -> int:
    text, prose = reader.text, reader.prose
    if prose.after_word:
        if reader.needs(at + 1):
            return WAIT
        if labels := markup.LABELS.match(text, at, at + markup.MAX_HOST):
            end = labels.end()
            open_ended = reader.needs(end) or (text.startswith(".", end) and reader.needs(end + 1))
            if open_ended and end - at < markup.MAX_HOST:
                return WAIT
            following = text[end : end + 1]
            domain = labels[0].rpartition(".")[2] in markup.DOMAINS and not following.isalnum()
            if end - at < markup.MAX_HOST and (domain or following == "@"):
                prose.say(reader.words.dot)
                reader.say_host(labels[0])
                if following == "/":
                    reader.skip_path()
                return end
    prose.emit(".")
    return at + 1


def _at(reader: Reader, at: int) -> int:
    if not reader.prose.after_word:
        reader.prose.say(reader.words.at)
        return at + 1
    host = markup.HOST.match(reader.text, at + 1)
    assert host
    if len(host[0]) < markup.MAX_HOST and reader.needs(host.end()):
        return WAIT
    reader.prose.say(reader.words.at)
    name = host[0].rstrip(".-_")
    reader.say_host(name)
    return at + 1 + len(name)


def _colon(reader: Reader, at: int) -> int:
    text, prose = reader.text, reader.prose
    if reader.needs(at + 1) or (text.startswith(":/", at) and reader.needs(at + 2)):
        return WAIT
    if text.startswith("://", at):
        return reader.address(at + 3)
    if not prose.after_word:
        if not reader.final and markup.FACE_AHEAD.match(text, at):
            return WAIT
        if face := markup.FACE.match(text, at):
            prose.leave(Gap.SPACE, dropped=True)
            return face.end()
    prose.emit(text[at])
    return at + 1


def _less_than(reader: Reader, at: int) -> int:
    text = reader.text
    window = text[at : at + markup.MAX_TAG]
    if not reader.final and len(window) < markup.MAX_TAG and markup.TAG_AHEAD.match(window):
        return WAIT
    if window.startswith("<!--"):
        reader.skip_hidden(markup.COMMENT_END)
        return at + 4
    tag = markup.TAG.match(window)
    name = tag[2].lower() if tag else ""
    if tag and name in markup.HIDDEN_TAGS:
        if not tag[1]:
            reader.skip_hidden(markup.HIDDEN_TAGS[name])
    elif name in markup.BLOCK_TAGS:
        reader.newline()
        reader.prose.item = bool(tag and not tag[1]) and name in markup.ITEM_TAGS
    elif name in markup.CELL_TAGS:
        reader.prose.leave(Gap.COMMA)
    elif tag and name not in markup.INLINE_TAGS and not tag[3]:
        reader.prose.leave(Gap.SOFT)  # a word in angle brackets: "Dear <name>", "List<int>"
        reader.prose.emit(tag[2])
        reader.prose.leave(Gap.SOFT)
    return at + tag.end() if tag else _compare(reader, at)


def _compare(reader: Reader, at: int) -> int:
    """Keep "<" and ">" in "3 < 5"; drop them as brackets or arrows."""
    if reader.needs(at + 1):
        return WAIT
    following, prose = reader.text[at + 1 : at + 2], reader.prose
    if (prose.after_word or prose.spaced) and (following in "=\u00a0 " or following.isdigit()) and following:
        prose.emit(reader.text[at])
    else:
        prose.leave(Gap.SOFT)
    return at + 1


def _entity(reader: Reader, at: int) -> int:
    text = reader.text
    if not reader.final and markup.ENTITY_AHEAD.match(text, at):
        return WAIT
    entity = markup.ENTITY.match(text, at)
    character = html.unescape(entity[0]).replace("\u00a0", " ") if entity else "&"
    if entity and character != entity[0]:
        reader.text = text[:at] + character + text[entity.end() :]  # the character is read again, as text
        return at
    reader.prose.emit("&")
    return at + 1


def _drop(reader: Reader, at: int) -> int:
    return at + 1


def _separate(reader: Reader, at: int) -> int:
    reader.prose.leave(Gap.SOFT)
    return at + 1


def _bullet(reader: Reader, at: int) -> int:
    reader.prose.leave(Gap.SPACE, dropped=True)
    return at + 1


def _pipe(reader: Reader, at: int) -> int:
    reader.prose.leave(Gap.COMMA)
    return at + 1


def _keycap(reader: Reader, at: int) -> int:
    reader.prose.leave(Gap.COMMA, dropped=True)
    return at + 1


def _arrow(reader: Reader, at: int) -> int:
    reader.prose.say(reader.words.to)
    return at + 1


def _joiner(reader: Reader, at: int) -> int:
    if reader.prose.gap is Gap.NONE and reader.prose.tail and not reader.prose.tail[-1].isspace():
        reader.prose.emit("\u200d")  # joins letters (Hindi, Persian and others), not emoji
    return at + 1


def _stars(reader: Reader, at: int) -> int:
    """Drop emphasis; keep "5 * 3" and "2*x"; say "2**8" as a power."""
    stars, prose = markup.STARS.match(reader.text, at), reader.prose
    assert stars
    end, count = stars.end(), len(stars[0])
    if count == 3:
        prose.leave(Gap.SOFT)
        return end
    if reader.needs(end):
        return WAIT
    following = reader.text[end : end + 1]
    if count == 1 and ((prose.spaced and following == " ") or (prose.after_term and following.isalnum())):
        prose.emit("*")
    elif count == 2 and prose.after_term and following.isalnum():
        prose.say(reader.words.power)
    return end


def _tildes(reader: Reader, at: int) -> int:
    tildes, prose = markup.TILDES.match(reader.text, at), reader.prose
    assert tildes
    end, count = tildes.end(), len(tildes[0])
    if count == 3:
        prose.leave(Gap.SOFT)
    elif reader.needs(end):
        return WAIT
    elif count == 1 and reader.text[end : end + 1].isdigit():
        between = prose.after_word and prose.tail[-1].isdigit()
        prose.say(reader.words.to if between else reader.words.about)
    return end


def _hyphens(reader: Reader, at: int) -> int:
    run, prose = markup.HYPHENS.match(reader.text, at), reader.prose
    assert run
    end, count = run.end(), len(run[0])
    if count == 3:
        prose.leave(Gap.COMMA)
        return end
    if reader.needs(end):
        return WAIT
    if reader.text.startswith(">", end):
        prose.say(reader.words.to)
        return end + 1
    if run[0] == "--":
        if not prose.after_word and reader.text[end : end + 1].isalpha():  # an option: --help
            prose.leave(Gap.SPACE)
        else:
            prose.emit("—")
    else:
        prose.emit(run[0][0])
    return end


def _hash(reader: Reader, at: int) -> int:
    """Keep "#" in "C#" and "F#", say "number" before a digit, and drop it elsewhere."""
    prose = reader.prose
    if reader.needs(at + 1):
        return WAIT
    if reader.text[at + 1 : at + 2].isdigit():
        prose.say(reader.words.number)
    elif prose.after_term and not prose.tail[-1].isdigit():
        prose.emit("#")
    else:
        prose.leave(Gap.SOFT)
    return at + 1


def _open(reader: Reader, at: int) -> int:
    text = reader.text
    ahead = markup.CITATION_AHEAD.match(text, at) or (reader.box and markup.BOX_AHEAD.match(text, at))
    if ahead and not reader.final:
        return WAIT
    reader.brackets += 1
    citation_or_box = markup.CITATION.match(text, at) or (markup.BOX.match(text, at) if reader.box else None)
    reader.prose.leave(Gap.SOFT, dropped=citation_or_box is not None)
    return citation_or_box.end() if citation_or_box else at + 1


def _close(reader: Reader, at: int) -> int:
    if reader.needs(at + 1):
        return WAIT
    if reader.brackets:
        reader.brackets -= 1
        if reader.text.startswith("(", at + 1):
            reader.skip_destination()
            return at + 1
    reader.prose.leave(Gap.SOFT)
    return at + 1


def _bang(reader: Reader, at: int) -> int:
    if reader.needs(at + 1):
        return WAIT
    if not reader.text.startswith("[", at + 1):
        reader.prose.emit("!")
    return at + 1


def _backslash(reader: Reader, at: int) -> int:
    """Handle an escape, a LaTeX bracket or a LaTeX command."""
    text, prose = reader.text, reader.prose
    command = markup.COMMAND.match(text, at)
    if reader.needs(command.end() if command else at + 1):
        return WAIT
    if command:
        prose.say(markup.LATEX.get(command[0][1:], command[0][1:]))
        return command.end()
    prose.leave(Gap.SOFT)
    return at + (2 if text[at + 1 : at + 2] in ("(", ")", "[", "]", "\\") else 1)


def _brace(reader: Reader, at: int) -> int:
    if reader.needs(at + 1):
        return WAIT
    if reader.text.startswith("{", at + 1):
        reader.prose.say(reader.words.over)
    reader.prose.leave(Gap.SOFT)
    return at + 1


def _caret(reader: Reader, at: int) -> int:
    if reader.prose.after_word or reader.prose.tail.endswith(")"):
        reader.prose.say(reader.words.power)
    return at + 1


def _dollar(reader: Reader, at: int) -> int:
    """Keep "$" before an amount ("$5") and after one ("5$"); drop it around a formula."""
    text, prose = reader.text, reader.prose
    run = markup.DOLLARS.match(text, at)
    assert run
    if reader.needs(run.end()):
        return WAIT
    amount = markup.AMOUNT.match(text, at + 1)
    if amount and reader.needs(amount.end()):
        return WAIT
    following = text[amount.end() : amount.end() + 1] if amount else ""
    formula = following in ("^", "\\", "_", "{", "$") or (following.islower() and following not in "kmbt")
    if amount and not formula and not (reader.math and prose.after_word):
        prose.emit("$" + amount[0])
        return amount.end()
    if not reader.math and run[0] == "$" and prose.after_word and prose.tail[-1].isdigit():
        prose.emit("$")
    else:
        reader.math = not reader.math
        prose.leave(Gap.SOFT)
    return run.end()


RULES: dict[str, Callable[[Reader, int], int]] = {
    "\\": _backslash, "`": _drop, "*": _stars, "_": _separate, "~": _tildes, "#": _hash, "[": _open, "]": _close,
    "!": _bang, "<": _less_than, ">": _compare, "&": _entity, "@": _at, "|": _pipe, "{": _separate, "}": _brace,
    "^": _caret, "$": _dollar, ".": _dot, "-": _hyphens, "=": _hyphens, ":": _colon, ";": _colon, "•": _bullet,
    "→": _arrow, "⇒": _arrow, "\u200d": _joiner, "\u20e3": _keycap,
}  # fmt: skip
"""Rules by the mark's first character."""
