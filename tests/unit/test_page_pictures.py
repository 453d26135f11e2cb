"""Every picture that the docs show is there, every state of the page is shown, and no other picture is kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PICTURE = re.compile(r"(?:\]\(|src=\")(?:docs/)?(images/[\w.-]+)")


def states() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name and the screens of each state, read from the code without importing it."""
    for script in ("page_states", "page_troubles"):
        for node in ast.parse((REPOSITORY / "scripts" / f"{script}.py").read_text("utf-8")).body:
            for decorator in getattr(node, "decorator_list", []):
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "state":
                    assert isinstance(node, ast.AsyncFunctionDef)
                    phone = any(field.arg == "phone" for field in decorator.keywords)
                    yield node.name.replace("_", "-"), ("desktop", "phone") if phone else ("desktop",)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_pictures_are_there(page: str) -> None:
    for picture in PICTURE.findall((DOCS / page).read_text("utf-8")):
        assert (DOCS / picture).is_file(), picture


def test_each_state_is_shown_on_a_desktop_and_some_on_a_phone() -> None:
    shown = PICTURE.findall((DOCS / "page.md").read_text("utf-8"))
    expected = [f"images/{screen}-{name}.png" for name, screens in states() for screen in screens]
    assert sum("desktop" in picture for picture in expected) > 40
    assert sum("phone" in picture for picture in expected) > 4
    assert shown == expected


def test_no_picture_is_kept_that_no_page_shows() -> None:
    pages = [REPOSITORY / "README.md", *DOCS.rglob("*.md")]
    shown = {name for page in pages for name in PICTURE.findall(page.read_text("utf-8"))}
    assert {f"images/{path.name}" for path in (DOCS / "images").iterdir()} == shown
