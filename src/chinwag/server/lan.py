"""LAN mode, for phones of the local network: private addresses, a self-signed certificate and a login code.

Browsers allow the microphone only over HTTPS, and no authority signs certificates for private addresses.
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

VALID_DAYS, RENEW_DAYS = 397, 30
"""Some browsers refuse certificates of more than 398 days. A certificate is renewed before its last 30 days."""

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Characters of a login code, without look-alikes. Sixteen of them are 79 bits."""

TEST_ADDRESS = "192.0.2.1"
"""A documentation address (RFC 5737). No packet is sent; it only shows the interface of the default route."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files. fingerprint: SHA-256, as browsers show it."""

    file: Path
    key: Path
    fingerprint: str


def private_addresses() -> list[str]:
    """Return this machine's IPv4 addresses that its networks reach, the one of the default route first."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    reachable = [
        entry.address
        for name, entries in psutil.net_if_addrs().items()
        if name in up
        for entry in entries
        if entry.family == socket.AF_INET and _is_reachable(entry.address)
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((TEST_ADDRESS, 9))
            default = probe.getsockname()[0]
        except OSError:
            default = ""
    return sorted(reachable, key=lambda address: address != default)


def _is_reachable(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def ensure_certificate(folder: Path, reached_at: Sequence[str]) -> Certificate:
    """Return the certificate of this folder; create one if it expires soon or does not cover all addresses.

    Raises ConfigError if the folder cannot be written.
    """
    file, key = folder / "certificate.pem", folder / "key.pem"
    names = _certificate_names(reached_at)
    loaded = _load_certificate(file, names) if key.exists() else None
    if loaded is None:
        loaded, private_key = _create_certificate(names)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(key, private_key)
            _write(file, loaded.public_bytes(serialization.Encoding.PEM))
        except OSError as error:
            message = f"The certificate for --lan cannot be written to {folder}: {error.strerror}."
            raise ConfigError(message, "Let that folder be written, or set XDG_DATA_HOME to another.") from error
    return Certificate(file, key, loaded.fingerprint(hashes.SHA256()).hex(":").upper())


def login_code(folder: Path) -> str:
    """Return the login code of this folder, created at the first call. Raises ConfigError if it cannot be written."""
    file = folder / "code"
    try:
        if file.exists() and (saved := file.read_text("ascii").strip()):
            return saved
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        code = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(4))
        _write(file, code.encode())
    except (OSError, UnicodeDecodeError) as error:
        message = f"The login code cannot be stored in {folder}: {error}."
        raise ConfigError(message, "Set a key of your own: server.api_keys in chinwag.toml.") from error
    return code


# ---------------------------------------------------------------------------------------------------------------------


def _certificate_names(reached_at: Sequence[str]) -> list[x509.GeneralName]:
    host = socket.gethostname().lower().split(".")[0]
    dns_names = [x509.DNSName(name) for name in dict.fromkeys(("localhost", host, f"{host}.local")) if name.isascii()]
    ip_names = [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(("127.0.0.1", *reached_at))]
    return [*dns_names, *ip_names]


def _load_certificate(file: Path, names: Sequence[x509.GeneralName]) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    valid = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_DAYS)
    return certificate if valid and set(names) <= set(covered) else None


def _create_certificate(names: Sequence[x509.GeneralName]) -> tuple[x509.Certificate, bytes]:
    """Return a self-signed certificate, and its private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Chinwag on this network")]), datetime.now(UTC)
    certificate = (
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
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate, pem


def _write(file: Path, data: bytes) -> None:
    """Write a file atomically, readable by this user alone."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(data)
    new.replace(file)
