"""Which machines can reach the server, and whether its keys and HTTPS are enough for that."""

from __future__ import annotations

import ipaddress
import ssl

from chinwag.config import ServerSettings
from chinwag.errors import ConfigError


def check_exposure(server: ServerSettings, *, encrypted: bool = False) -> None:
    """Raise ConfigError if other machines could use the server without a key, or send keys over plain HTTP.

    The settings auth = "off" and https = "off" allow it. encrypted: HTTPS is provided otherwise, as by --lan.
    """
    _check_certificate(server)
    if is_loopback(server.host) or server.auth == "off":
        return
    where = server.host or "every address"
    if not server.requires_key:
        raise ConfigError(
            f"Other machines could use this server: it would listen on {where} without a key.",
            "Set a key: CHINWAG_SERVER__API_KEYS=KEY, or server.api_keys in chinwag.toml (openssl rand -hex 24 makes"
            " one), or let the server make one: CHINWAG_SERVER__AUTH=code. To run without: CHINWAG_SERVER__AUTH=off.",
        )
    if not (encrypted or server.tls_cert or server.trusted_proxies or server.https == "off"):
        raise ConfigError(
            f"Others on the network could read keys and voices: the server would listen on {where} without HTTPS.",
            "Start it with --lan, or set server.tls_cert and server.tls_key; behind a proxy that speaks HTTPS, name its"
            " address in server.trusted_proxies. To run without: CHINWAG_SERVER__HTTPS=off, or"
            ' server.https = "off".',
        )


def is_loopback(host: str | None) -> bool:
    """Return whether a name or address without its port means this machine only."""
    name = (host or "").strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_local_name(host: str | None) -> bool:
    """Return whether public DNS cannot resolve a name: it is an IP address, a single label or an mDNS name."""
    name = (host or "").strip("[]").lower().rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".local"))
    return True


def _check_certificate(server: ServerSettings) -> None:
    if bool(server.tls_cert) != bool(server.tls_key):
        missing = "tls_key" if server.tls_cert else "tls_cert"
        raise ConfigError(f"HTTPS needs a certificate and a key: server.{missing} is not set.", "Set both, or neither.")
    if server.tls_cert is None:
        return
    try:
        # an empty password, as OpenSSL would otherwise prompt for one on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_cert, server.tls_key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"The certificate {server.tls_cert} cannot be used with the key {server.tls_key}: {error}.",
            "Both must be PEM files that belong together and that this user can read; the key must have no password.",
        ) from None
