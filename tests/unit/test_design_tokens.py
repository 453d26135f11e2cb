"""Colours and measures of the page have one home: tokens.css."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import chinwag

pytestmark = pytest.mark.unit

CLIENT = Path(chinwag.__file__).parent / "page"
TOKENS = CLIENT / "tokens.css"
COLOUR = re.compile(r"(?<![\w&\"'#-])#[0-9a-f]{3,8}\b|\b(?:rgb|hsl|oklch|lab)a?\(", re.IGNORECASE)
LONGEST = 400


def declared() -> set[str]:
    return set(re.findall(r"^\s*(--[\w-]+):", TOKENS.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("file", sorted(path.name for path in CLIENT.glob("*.css") if path != TOKENS))
def test_no_other_style_sheet_has_a_colour_of_its_own_or_an_unknown_name(file: str) -> None:
    text = (CLIENT / file).read_text("utf-8")
    assert not COLOUR.findall(text)
    set_in_code = {"--from", "--to"}  # places in the picture of a turn's stages
    assert set(re.findall(r"var\((--[\w-]+)", text)) <= declared() | set_in_code


def test_scripts_name_tokens_and_no_colours() -> None:
    for path in CLIENT.glob("*.js"):
        assert not re.findall(r"[\"'`](?:#[0-9a-f]{3,8}|rgba?\(|hsla?\()", path.read_text("utf-8")), path.name


def test_each_token_is_used() -> None:
    everything = "".join(path.read_text("utf-8") for kind in ("*.css", "*.js") for path in CLIENT.glob(kind))
    everything = everything.replace("mark-${", "--mark-0 --mark-1 --mark-2 --mark-3 --mark-4 --mark-5")
    unused = [name for name in declared() if not re.search(rf"(?:var\({name}\b|[\"'`]{name}\b)", everything)]
    assert not unused


def test_dark_has_every_colour_that_light_has() -> None:
    light, dark = TOKENS.read_text("utf-8").split("@media (prefers-color-scheme: dark)")
    coloured = re.compile(r"(--[\w-]+):[^;]*(?:#[0-9a-f]{6}|rgb\()", re.IGNORECASE)
    assert set(coloured.findall(light)) == set(coloured.findall(dark.split("@media")[0]))


def test_what_cannot_read_tokens_has_the_same_colours() -> None:
    light, dark = TOKENS.read_text("utf-8").split("@media (prefers-color-scheme: dark)")
    paper = [re.findall(r"--paper: (#\w+)", half)[0] for half in (light, dark)]
    page = (CLIENT / "index.html").read_text("utf-8")
    assert re.findall(r'theme-color" content="(#\w+)"', page) == paper
    manifest = json.loads((CLIENT / "manifest.webmanifest").read_text("utf-8"))
    assert manifest["background_color"] == manifest["theme_color"] == paper[0]


def test_no_file_of_the_page_is_too_long() -> None:
    kinds = ("*.css", "*.js", "*.html")
    long = {
        path.name: n
        for kind in kinds
        for path in CLIENT.glob(kind)
        if (n := len(path.read_text("utf-8").splitlines())) > LONGEST
    }
    assert not long
