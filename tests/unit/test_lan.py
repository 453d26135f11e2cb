"""What `chinwag serve --lan` makes for a network: addresses, a certificate, a login code."""

from __future__ import annotations

import ipaddress
import socket
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from chinwag.config import ServerSettings
from chinwag.errors import ConfigError
from chinwag.server import lan

pytestmark = pytest.mark.unit

HERE = ("192.168.1.20", "10.0.0.7")


def read(made: lan.Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(made.file.read_bytes())


def test_the_certificate_is_for_all_addresses_and_made_once(tmp_path: Path) -> None:
    made = lan.ensure_certificate(tmp_path / "lan", HERE)
    names = read(made).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    told = set(map(str, names.get_values_for_type(x509.IPAddress)))
    assert told == {"127.0.0.1", *HERE}
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert read(made).not_valid_after_utc - read(made).not_valid_before_utc < timedelta(days=398)
    assert len(made.fingerprint.split(":")) == 32
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700
    assert lan.ensure_certificate(tmp_path / "lan", HERE[:1]).fingerprint == made.fingerprint
    assert lan.ensure_certificate(tmp_path / "lan", (*HERE, "172.16.0.2")).fingerprint != made.fingerprint
    assert {path.name for path in made.key.parent.iterdir()} == {"certificate.pem", "key.pem"}


def test_one_that_is_soon_over_or_damaged_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lan.ensure_certificate(tmp_path, HERE)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=lan.VALID_DAYS - lan.RENEW_DAYS)

    with monkeypatch.context() as later:
        later.setattr(lan, "datetime", Later)
        second = lan.ensure_certificate(tmp_path, HERE)
    assert second.fingerprint != first.fingerprint
    second.file.write_text("no certificate")
    assert lan.ensure_certificate(tmp_path, HERE).fingerprint != second.fingerprint


def test_the_login_code_is_a_key_that_stays(tmp_path: Path) -> None:
    made = lan.login_code(tmp_path / "lan")
    assert ServerSettings(api_keys=[made]).api_keys == [made]
    assert lan.login_code(tmp_path / "lan") == made
    assert stat.S_IMODE((tmp_path / "lan" / "code").stat().st_mode) == 0o600
    assert lan.login_code(tmp_path / "other") != made


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "lan").write_text("a file")
    with pytest.raises(ConfigError, match=r"certificate for --lan cannot be written.*XDG_DATA_HOME"):
        lan.ensure_certificate(tmp_path / "lan", HERE)
    with pytest.raises(ConfigError, match=r"login code cannot be stored.*server.api_keys"):
        lan.login_code(tmp_path / "lan")


def test_addresses_are_those_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, address: str) -> None:
            self.family, self.address = socket.AF_INET, address

    class Stats:
        def __init__(self, isup: bool) -> None:
            self.isup = isup

    cards: dict[str, Sequence[str]] = {"lo": ["127.0.0.1"], "wlan0": ["192.168.1.20"], "down": ["10.1.1.1"]}
    cards["usb0"] = ["169.254.3.4"]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {name: list(map(Entry, own)) for name, own in cards.items()})
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {name: Stats(name != "down") for name in cards})
    assert lan.private_addresses() == ["192.168.1.20"]
    monkeypatch.undo()
    assert all(not ipaddress.ip_address(one).is_loopback for one in lan.private_addresses())
