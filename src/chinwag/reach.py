"""Who can reach the server over the network, and what that asks for: keys and HTTPS, or somebody's word."""

from __future__ import annotations

import ipaddress
import ssl

from chinwag.config import ServerSettings
from chinwag.errors import ConfigError


def check_reach(server: ServerSettings, *, encrypted: bool = False) -> None:
    """Raises ConfigError where other machines could use the server without a key, or would send it over plain HTTP, and
    nobody has said that this is meant. encrypted: HTTPS is seen to otherwise, as by --lan.
    """
    _check_certificate(server)
    if is_loopback(server.host) or server.auth == "off":
        return
    where = server.host or "every address"
    if not server.wants_key:
        raise ConfigError(
            f"Other machines could use this server: it would listen on {where} without a key.",
            "Set a key: CHINWAG_SERVER__API_KEYS=KEY, or server.api_keys in chinwag.toml (openssl rand -hex 24 makes"
            " one), or have one made: CHINWAG_SERVER__AUTH=code. Or say that it needs none: CHINWAG_SERVER__AUTH=off.",
        )
    if not (encrypted or server.tls_cert or server.trusted_proxies or server.https == "off"):
        raise ConfigError(
            f"Keys and voices could be read on their way: the server would listen on {where} without HTTPS.",
            "Start it with --lan, or set server.tls_cert and server.tls_key; behind a proxy that speaks HTTPS, name its"
            " address in server.trusted_proxies. Or say that it needs none: CHINWAG_SERVER__HTTPS=off, or"
            ' server.https = "off".',
        )


def is_loopback(host: str | None) -> bool:
    """Whether a name or address, without its port, is this machine's own and nobody else's."""
    name = (host or "").strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_nearby(host: str | None) -> bool:
    """Whether a name cannot be one that a stranger has pointed here: an address, a single word, or of mDNS."""
    name = (host or "").strip("[]").lower().rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".local"))
    return True


def _check_certificate(server: ServerSettings) -> None:
    if bool(server.tls_cert) != bool(server.tls_key):
        missing = "tls_key" if server.tls_cert else "tls_cert"
        raise ConfigError(f"HTTPS needs a certificate and its key: server.{missing} is not set.", "Set both, or none.")
    if server.tls_cert is None:
        return
    try:
        # an empty password: else a key that has one would be asked for on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_cert, server.tls_key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"The certificate {server.tls_cert} cannot be used with the key {server.tls_key}: {error}.",
            "Both are files in PEM that belong together, which this user can read; the key has no password.",
        ) from None
