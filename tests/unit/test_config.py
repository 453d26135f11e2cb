"""Settings from four places, and what a person is told when one of them is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chinwag import config
from chinwag.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without settings."""
    for name in [name for name in os.environ if name.upper().startswith("CHINWAG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> Path:
    path = Path("other.toml")
    path.write_text(text, "utf-8")
    return path


def test_without_anything_there_are_defaults() -> None:
    found = config.load()
    assert (found.server.host, found.server.port) == ("127.0.0.1", 8000)
    assert (found.vad.engine, found.llm.engine, found.tts.engine) == ("silero", "auto", "hibari")
    assert found.weights.sources == ["index", "hub"]


def test_a_file_in_the_working_folder_is_found() -> None:
    Path("chinwag.toml").write_text("[server]\nport = 9000\n", "utf-8")
    assert config.load().server.port == 9000


def test_a_file_can_be_named_and_what_it_leaves_out_keeps_its_default() -> None:
    found = config.load(write('[tts]\nspeed = 1.5\n[weights]\nsources = ["hub"]\n'))
    assert (found.tts.speed, found.tts.engine, found.weights.sources) == (1.5, "hibari", ["hub"])


def test_a_byte_order_mark_as_windows_editors_write_is_no_fault() -> None:
    assert config.load(write("\ufeff[server]\nport = 9000\n")).server.port == 9000


def test_the_environment_wins_over_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_SERVER__PORT", "9001")
    found = config.load(write('[server]\nport = 9000\nhost = "0.0.0.0"\n')).server
    assert (found.port, found.host) == (9001, "0.0.0.0")


def test_flags_win_over_the_environment_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_SERVER__PORT", "9001")
    monkeypatch.setenv("CHINWAG_SERVER__MAX_SESSIONS", "3")
    found = config.load(write('[server]\nhost = "0.0.0.0"\n'), {"server": {"port": 9002}, "llm": {}}).server
    assert (found.port, found.max_sessions, found.host) == (9002, 3, "0.0.0.0")


def test_flags_are_read_as_their_kind() -> None:
    assert config.load(flags={"weights": {"folder": "here"}}).weights.folder == Path("here")


def test_other_variables_with_our_name_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHINWAG_BROWSER", "chromium")
    assert config.load().server.port == 8000


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(config.load(flags={"llm": {"api_key": "hush"}}))


FAULTS = {
    "a key's typo names the nearest": ("[server]\nprot = 1", "unknown key: server.prot. Did you mean server.port?"),
    "a section's typo names the nearest": ("[sever]\nport = 1", "unknown key: sever. Did you mean server?"),
    "a key that is like none lists them": ("[tts]\nxyzzy = 1", "tts.xyzzy. There are: engine, model, voice, speed, "),
    "a key outside its section": ("zzz = 1", "zzz. There are: server, vad,"),
    "a section inside a section": ("[server.prot]\nx = 1", "server.prot. Did you mean server.port?"),
    "a table where a list belongs": ("[weights.sources]\nx = 1", "weights.sources = {'x': 1} cannot be used"),
    "a value where a section belongs": ("server = 1", "server = 1 cannot be used"),
    "a word where a number belongs": (
        "[server]\nport = 'x'",
        "server.port = 'x' cannot be used: Input should be a valid",
    ),
    "a number out of range": ("[server]\nport = 70000", "server.port = 70000 cannot be used: Input should be less"),
    "a choice that is none": ("[turn]\neagerness = 'very'", "'low', 'medium', 'high' or 'auto'"),
    "not a number": ("[tts]\nspeed = nan", "tts.speed = nan cannot be used"),
    "an item of a list": ("[weights]\nsources = ['moon']", "weights.sources.0 = 'moon' cannot be used"),
    "what is not TOML": ("[server\nport = 1", "is not valid TOML"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_file_is_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.load(write(text))
    assert message in str(raised.value)
    assert raised.value.message.startswith("other.toml")
    assert raised.value.fix


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^none\.toml does not exist\. Name an existing file"):
        config.load(Path("none.toml"))


def test_a_file_that_cannot_be_read_is_named() -> None:
    Path("folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^folder\.toml cannot be read"):
        config.load(Path("folder.toml"))


def test_a_file_that_is_not_text_is_named() -> None:
    Path("bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^bytes\.toml is not valid TOML"):
        config.load(Path("bytes.toml"))


ENVIRONMENT = {
    "a key's typo": ("CHINWAG_SERVER__PROT", "1", "unknown key: server.prot. Did you mean server.port?"),
    "a section's typo": ("CHINWAG_SEVER__PORT", "1", "unknown key: sever. Did you mean server?"),
    "a wrong value": ("CHINWAG_SERVER__PORT", "x", "server.port = 'x' cannot be used"),
    "a section that is no table": ("CHINWAG_SERVER", "x", "CHINWAG_SERVER__PORT=9000"),
}


@pytest.mark.parametrize(("name", "value", "message"), ENVIRONMENT.values(), ids=ENVIRONMENT)
def test_a_fault_in_the_environment_is_not_blamed_on_the_file(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        config.load(write("[server]\nmax_sessions = 3\n"))
    assert message in str(raised.value)
    assert raised.value.message.startswith("The environment")


FLAGS = {
    "a key's typo": ({"server": {"prot": 1}}, "unknown key: server.prot. Did you mean server.port?"),
    "a section's typo": ({"sever": {"port": 1}}, "unknown key: sever. Did you mean server?"),
    "a wrong value": ({"server": {"port": "x"}}, "server.port = 'x' cannot be used"),
}


@pytest.mark.parametrize(("flags", "message"), FLAGS.values(), ids=FLAGS)
def test_a_fault_in_the_flags_is_explained(flags: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.load(flags=flags)
    assert message in str(raised.value)
    assert raised.value.message.startswith("The command line")
