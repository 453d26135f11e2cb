"""The page preloads each module that it imports, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chinwag

pytestmark = pytest.mark.unit

PAGE = Path(chinwag.__file__).parent / "page"
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "page_preloads.py"
IMPORTED = re.compile(r"^import[^;]*?\"\./([\w-]+\.js)\"", re.MULTILINE)


def imported(file: str, known: set[str]) -> set[str]:
    for name in IMPORTED.findall((PAGE / file).read_text("utf-8")):
        if name not in known:
            known.add(name)
            imported(name, known)
    return known


def test_every_module_is_preloaded() -> None:
    preloaded = re.findall(r'rel="modulepreload" href="([^"]+)"', (PAGE / "index.html").read_text("utf-8"))
    assert sorted(preloaded) == sorted(imported("main.js", set()))
    assert "microphone.js" in preloaded, "found, though main.js does not import it"


def test_the_generated_links_are_up_to_date() -> None:
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False).returncode == 0
