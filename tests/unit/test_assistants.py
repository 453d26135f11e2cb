"""Assistants in files: Chinwag's own, the user's beside them, and what a file that cannot be used is told."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import httpx
import pytest

from chinwag import assistants
from chinwag.config import AssistantSettings, Config
from chinwag.conversation.settings import SessionSettings
from chinwag.engines.fake import Fakes
from chinwag.errors import ConfigError, Refused
from chinwag.runtime.assistants import Assistants
from chinwag.runtime.runtime import Runtime
from chinwag.server.app import create_app
from chinwag.text.prompt import DEFAULT_INSTRUCTIONS

pytestmark = pytest.mark.unit

OWN = {"companion", "interviewer", "language-partner", "reading-companion"}
GUIDE = 'title = "Guide"\ninstructions = "Tell of the town."\ngreeting = "Welcome!"\nvoice = "two"\nspeed = 0.8\n'


def settings(folder: Path, **said: str) -> Config:
    return Config(assistant=AssistantSettings(folder=folder, **said))


def faults(folder: Path, text: str | bytes) -> str:
    """What is told of a file with that text."""
    (folder / "odd.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = assistants.read_assistants(folder)
    assert set(found.assistants) == OWN, "the others work"
    (fault,) = found.faults
    return str(fault)


def test_those_that_come_with_chinwag_can_all_be_used(tmp_path: Path) -> None:
    found = assistants.read_assistants(tmp_path / "not there")
    assert set(found.assistants) == OWN
    assert not found.faults
    assert found.get("companion").instructions == DEFAULT_INSTRUCTIONS
    with pytest.raises(ConfigError, match=r"no assistant called 'compamion'. Did you mean companion"):
        found.get("compamion")


def test_a_file_of_the_users_is_added_or_takes_the_place_of_one(tmp_path: Path) -> None:
    (tmp_path / "guide.toml").write_text(GUIDE, "utf-8")
    (tmp_path / "interviewer.toml").write_text('title = "Mine"\ninstructions = "Ask."\n', "utf-8")
    (tmp_path / "notes.txt").write_text("no assistant", "utf-8")
    found = assistants.read_assistants(tmp_path)
    assert set(found.assistants) == {*OWN, "guide"}
    assert found.get("interviewer").title == "Mine"
    shown = {"name": "guide", "title": "Guide", "voice": "two", "speed": 0.8, "greeting": "Welcome!"}
    assert found.get("guide").as_dict == shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title = oops\n", r"odd.toml, line 1: It is not valid TOML"),
        ('title = "A"\n', "instructions is missing. Add a line: instructions = "),
        (
            'title = "A"\ninstructions = "B"\n\nvioce = "x"\n',
            "line 4: vioce is not a field of an assistant. Did you mean",
        ),
        ('title = "A"\ninstructions = "B"\nspeed = 9\n', "line 3: speed cannot be 9.*a number from 0.25 to 1.5"),
        ('title = "A"\ninstructions = "B"\nlanguage = "French!"\n', "line 3: language cannot be.*a tag like 'en'"),
        ('title = "A"\ninstructions = "B"\ntools = ["nothing"]\n', "line 3: tools names a tool that is not installed"),
        (b'title = "A"\ninstructions = "\xff"\n', "line 2: It is not written in UTF-8. Save it as UTF-8"),
        ('title = "A"\ninstructions = "' + "x" * 70_000 + '"\n', "larger than 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_what_to_do(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert re.search(told, faults(tmp_path, text))


async def test_they_are_laid_over_the_servers_settings(tmp_path: Path) -> None:
    (tmp_path / "guide.toml").write_text(GUIDE, "utf-8")
    held = Assistants(settings(tmp_path))
    plain = SessionSettings()
    guide = held.part("guide", plain, ("one", "two"))
    assert (guide.settings.instructions, guide.settings.greeting) == ("Tell of the town.", "Welcome!")
    assert (guide.settings.style.voice, guide.settings.style.speed) == ("two", 0.8)
    assert guide.fixed == {"voice", "speed"}
    assert held.part("guide", plain, ("one",)).fixed == {"speed"}, "that engine has no such voice"
    partner = held.part("language-partner", plain, ())
    assert partner.settings.listening.endpointer.patience == 0.7
    assert partner.settings.tools.own
    names = [tool.name for tool in partner.settings.tools.own.tools()]
    assert names == ["keep_word", "list_words", "forget_word"]
    with pytest.raises(Refused, match="no assistant called") as refused:
        held.part("nobody", plain, ())
    assert refused.value.param == "session.assistant"


async def test_what_chinwag_toml_says_takes_the_place_of_the_default_ones_words(tmp_path: Path) -> None:
    held = Assistants(settings(tmp_path, name="interviewer", instructions="Ask about cats."))
    assert held.own.instructions == "Ask about cats."
    assert held.own.greeting.startswith("Hello"), "the file's, as nothing else was said"
    assert held.part("companion", SessionSettings(), ()).settings.instructions == DEFAULT_INSTRUCTIONS


async def test_a_default_that_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no assistant called 'nobody'. There are: companion"):
        await Assistants(settings(tmp_path, name="nobody")).reload()


async def test_the_api_reads_the_files_anew_and_a_fault_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Runtime(settings(tmp_path))
    host.engines = Fakes().engines()
    transport = httpx.ASGITransport(create_app(host))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        before = (await client.get("/api/assistants")).json()
        assert {one["name"] for one in before["assistants"]} == OWN
        assert (before["default"], before["faults"]) == ("companion", [])
        await asyncio.to_thread((tmp_path / "guide.toml").write_text, GUIDE, "utf-8")
        await asyncio.to_thread((tmp_path / "odd.toml").write_text, "x\n", "utf-8")
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                after = (await client.get("/api/assistants")).json()
        assert {one["name"] for one in after["assistants"]} == {*OWN, "guide"}
        assert "odd.toml, line 1: It is not valid TOML" in after["faults"][0]
        assert caplog.text.count("an assistant cannot be used") == 1
        assert host.defaults().profile("guide").settings.greeting == "Welcome!"
