"""The page asks for all of its modules at once, and for none that it does not need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chinwag

pytestmark = pytest.mark.unit

CLIENT = Path(chinwag.__file__).parent / "page"
IMPORTED = re.compile(r"^import[^;]*?\"\./([\w-]+\.js)\"", re.MULTILINE)


def imported(file: str, known: set[str]) -> set[str]:
    for name in IMPORTED.findall((CLIENT / file).read_text("utf-8")):
        if name not in known:
            known.add(name)
            imported(name, known)
    return known


def test_every_module_is_asked_for_at_once() -> None:
    preloaded = re.findall(r'rel="modulepreload" href="([^"]+)"', (CLIENT / "index.html").read_text("utf-8"))
    assert sorted(preloaded) == sorted(imported("main.js", set()))
    assert "microphone.js" in preloaded, "found, though main.js does not import it"
