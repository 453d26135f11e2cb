"""Who may talk to the server."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

POLICY = "default-src 'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
"""The page loads nothing from elsewhere and runs no inline script."""


def same_origin(connection: HTTPConnection) -> bool:
    """A browser names the page that asks in Origin; programs send none. Another site's page is turned away, since
    any page that is open in a browser could otherwise listen in through localhost."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
