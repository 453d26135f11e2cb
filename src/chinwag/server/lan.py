"""A server for the phones of a local network: its addresses, a certificate that it makes, a code to log in with.

Browsers give a microphone to pages from HTTPS alone, and no authority signs certificates for private addresses.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from chinwag.errors import ConfigError

VALID_DAYS, LEAST_DAYS = 397, 30
"""Some browsers refuse certificates of more than 398 days; one that is soon over is made anew."""

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Of a login code: none that is taken for another. Sixteen of them are 79 bits."""

ELSEWHERE = "192.0.2.1"
"""An address of documentation (RFC 5737): nothing is sent there, it only asks which way packets would leave."""


@dataclass(frozen=True)
class Certificate:
    """Files in PEM. fingerprint: SHA-256, as browsers show it."""

    file: Path
    key: Path
    fingerprint: str


def addresses() -> list[str]:
    """Private IPv4 addresses of this machine that others of its networks reach; that of the usual way out first."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    found = [
        entry.address
        for name, entries in psutil.net_if_addrs().items()
        if name in up
        for entry in entries
        if entry.family == socket.AF_INET and _reached(entry.address)
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((ELSEWHERE, 9))
            usual = asking.getsockname()[0]
        except OSError:
            usual = ""
    return sorted(found, key=lambda address: address != usual)


def _reached(address: str) -> bool:
    known = ipaddress.ip_address(address)
    return not (known.is_loopback or known.is_link_local or known.is_unspecified)


def certificate(folder: Path, reached_at: Sequence[str]) -> Certificate:
    """The one of that folder, made anew where it is soon over or is not for all of these addresses.

    Raises ConfigError where the folder cannot be written.
    """
    file, key = folder / "certificate.pem", folder / "key.pem"
    names = _names(reached_at)
    known = _known(file, names) if key.exists() else None
    if known is None:
        made, secret = _made(names)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(key, secret)
            _write(file, made.public_bytes(serialization.Encoding.PEM))
        except OSError as error:
            message = f"The certificate for --lan cannot be written to {folder}: {error.strerror}."
            raise ConfigError(message, "Let that folder be written, or set XDG_DATA_HOME to another.") from error
        known = made
    return Certificate(file, key, known.fingerprint(hashes.SHA256()).hex(":").upper())


def code(folder: Path) -> str:
    """The login code of that folder, the same at each start. Raises ConfigError where it cannot be written."""
    file = folder / "code"
    try:
        if file.exists() and (known := file.read_text("ascii").strip()):
            return known
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(4))
        _write(file, made.encode())
    except (OSError, UnicodeDecodeError) as error:
        message = f"The login code cannot be kept in {folder}: {error}."
        raise ConfigError(message, "Set a key of your own: server.api_keys in chinwag.toml.") from error
    return made


# ---------------------------------------------------------------------------------------------------------------------


def _names(reached_at: Sequence[str]) -> list[x509.GeneralName]:
    host = socket.gethostname().lower().split(".")[0]
    named = [x509.DNSName(name) for name in dict.fromkeys(("localhost", host, f"{host}.local")) if name.isascii()]
    numbered = [x509.IPAddress(ipaddress.ip_address(one)) for one in dict.fromkeys(("127.0.0.1", *reached_at))]
    return [*named, *numbered]


def _known(file: Path, names: Sequence[x509.GeneralName]) -> x509.Certificate | None:
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
        holds = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    good = found.not_valid_after_utc - datetime.now(UTC) > timedelta(days=LEAST_DAYS)
    return found if good and set(names) <= set(holds) else None


def _made(names: Sequence[x509.GeneralName]) -> tuple[x509.Certificate, bytes]:
    """One that signs itself, and its key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Chinwag on this network")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a phone's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made, secret


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, and read by this user alone."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(data)
    new.replace(file)
