"""Every picture that the docs show is there, and every state of the page is shown at both sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PICTURE = re.compile(r"(?:\]\(|src=\")(images/[\w.-]+)")
STATE = re.compile(r"^@state\([^\n]*(?:\n(?!async def)[^\n]*)*\nasync def (\w+)", re.MULTILINE)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_pictures_are_there(page: str) -> None:
    for picture in PICTURE.findall((DOCS / page).read_text("utf-8")):
        assert (DOCS / picture).is_file(), picture


def test_each_state_is_shown_at_both_sizes() -> None:
    code = "".join((REPOSITORY / "scripts" / f"page_{name}.py").read_text("utf-8") for name in ("states", "troubles"))
    states = [name.replace("_", "-") for name in STATE.findall(code)]
    shown = PICTURE.findall((DOCS / "page.md").read_text("utf-8"))
    assert len(states) > 40
    assert shown == [f"images/{screen}-{name}.png" for name in states for screen in ("desktop", "phone")]
    assert code.count("@state(") == len(states)
