"""Python functions as tools: what the model is told of them, what they are given, and how they fail."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from chinwag.errors import ChinwagError, ConfigError
from chinwag.tools import functions, notes
from chinwag.tools.clock import current_time
from chinwag.tools.tool import OWN_SERVER, Tool, ToolError, with_unique_names

pytestmark = pytest.mark.engines


class Colour(BaseModel):
    red: int
    blue: int = 0


def paint(what: str, colour: Colour, coats: Annotated[int, Field(ge=1, le=3)] = 1, glossy: bool = False) -> Any:
    """Paint something.

    In one of many colours.
    """
    return {"what": what, "red": colour.red, "coats": coats, "glossy": glossy}


async def wait(seconds: float = 60) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return "done"


def broken() -> str:
    """Never works."""
    raise RuntimeError("the lamp is out")


def careful(kind: Literal["a", "b"]) -> str:
    """Says what to do."""
    raise ChinwagError(f"There is no {kind}.", "Ask for c.")


async def run(tool: Tool, **arguments: Any) -> str:
    assert tool.run
    return await tool.run(arguments)


async def test_a_function_is_described_by_its_hints_and_called_with_checked_values() -> None:
    tool = functions.from_function(paint, 5)
    offer = tool.as_openai["function"]
    assert offer["name"] == "paint"
    assert offer["description"].startswith("Paint something.")
    schema = offer["parameters"]
    assert schema["type"] == "object"
    assert schema["required"] == ["what", "colour"]
    assert schema["properties"]["coats"] == {
        "default": 1, "maximum": 3, "minimum": 1, "title": "Coats", "type": "integer"
    }  # fmt: skip
    assert tool.server == OWN_SERVER
    painted = json.loads(await run(tool, what="door", colour={"red": 3}))
    assert painted == {"what": "door", "red": 3, "coats": 1, "glossy": False}
    with pytest.raises(ToolError, match=r"do not match the schema: colour.red.*coats: .*less than or equal to 3"):
        await run(tool, what="door", colour={}, coats=9)
    with pytest.raises(ToolError, match="where"):
        await run(tool, what="door", colour={"red": 1}, where="here")


async def test_what_a_function_raises_is_for_the_model_to_read() -> None:
    with pytest.raises(ToolError, match="the lamp is out"):
        await run(functions.from_function(broken, 5))
    with pytest.raises(ToolError, match=r"There is no a\. Ask for c\."):
        await run(functions.from_function(careful, 5), kind="a")


async def test_a_function_has_so_long_and_blocks_nobody() -> None:
    with pytest.raises(ToolError, match=r"longer than 0.1 s"):
        await run(functions.from_function(wait, 0.1))
    assert await run(functions.from_function(wait, 5), seconds=0) == "done"


def test_a_function_without_a_schema_is_refused() -> None:
    def strange(what: asyncio.Event) -> None:
        """Takes what JSON cannot say."""

    with pytest.raises(ConfigError, match=r"The tool strange cannot be offered to a model") as failure:
        functions.from_function(strange, 5)
    assert "type hints" in failure.value.fix


def test_the_tools_that_come_with_chinwag_are_there() -> None:
    assert set(functions.installed_tools()) >= {"time", "notes"}
    found = [tool.name for tool in functions.load_tools(["time", "notes"], 5)]
    assert found == ["current_time", "add_note", "list_notes", "forget_note"]


def test_tools_come_in_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("paint", f"{__name__}:paint", functions.GROUP),
        EntryPoint("notes", "chinwag.tools.notes:ALL", functions.GROUP),
        EntryPoint("gone", "no_such_module_anywhere:f", functions.GROUP),
    ]
    monkeypatch.setattr(functions, "entry_points", lambda group: points)
    assert functions.installed_tools() == ["gone", "notes", "paint"]
    found = functions.load_tools(["paint", "notes"], 5)
    assert [tool.name for tool in found] == ["paint", "add_note", "list_notes", "forget_note"]
    with pytest.raises(ConfigError, match=r"not installed: pint\. Did you mean paint\?"):
        functions.load_tools(["pint"], 5)
    with pytest.raises(ConfigError, match="gone cannot be imported"):
        functions.load_tools(["gone"], 5)


def test_two_tools_of_one_name_are_told_apart_by_their_servers() -> None:
    tools = [Tool("look", server=""), Tool("look", server="shop"), Tool("look", server="home", server_name="look")]
    assert [(tool.name, tool.server) for tool in with_unique_names(tools)] == [
        ("look", ""), ("shop_look", "shop"), ("home_look", "home")
    ]  # fmt: skip


def test_the_time_is_told_in_words() -> None:
    assert re.fullmatch(r"\w+day, \d\d \w+ \d{4}, \d\d:\d\d \S+", current_time())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notes" / "notes.json"
    monkeypatch.setattr(notes, "notes_file", lambda: path)
    return path


async def test_notes_are_kept_listed_and_forgotten(kept: Path) -> None:
    add, read, forget = (functions.from_function(one, 5) for one in notes.ALL)
    assert await run(read) == "There are no notes."
    assert await run(add, text="Buy milk.") == "Noted: Buy milk."
    await run(add, text="Zahnarzt für Köln")
    assert json.loads(await run(read)) == ["Buy milk.", "Zahnarzt für Köln"]
    assert _in(kept) == ["Buy milk.", "Zahnarzt für Köln"]
    assert await run(forget, text="MILK") == "Forgotten: Buy milk."
    assert await run(forget, text="milk") == "No note holds the words: milk"
    assert json.loads(await run(read)) == ["Zahnarzt für Köln"]
    with pytest.raises(ToolError, match="do not match the schema"):
        await run(add, text="")


def test_a_damaged_file_is_told_and_left_alone(kept: Path) -> None:
    kept.parent.mkdir()
    kept.write_text("{not json")
    with pytest.raises(ChinwagError, match=r"damaged.*Repair it"):
        notes.add_note("x")
    assert kept.read_text() == "{not json"


def _in(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _beside(path: Path) -> list[Path]:
    return list(path.parent.iterdir())


def _add_many(path: str, who: int) -> None:
    notes.notes_file = lambda: Path(path)
    for number in range(25):
        notes.add_note(f"{who} {number}")


async def test_two_conversations_at_once_lose_no_note(kept: Path) -> None:
    tool = functions.from_function(notes.add_note, 20)
    await asyncio.gather(*(run(tool, text=f"note {number}") for number in range(30)))
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_add_many, args=(str(kept), who)) for who in range(2)]
    for other in others:
        other.start()
    for other in others:
        await asyncio.to_thread(other.join)
    assert len(_in(kept)) == 30 + 2 * 25
    assert [path.name for path in _beside(kept) if path.suffix == ".new"] == []
