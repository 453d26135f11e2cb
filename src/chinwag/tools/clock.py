"""A tool that returns the date and time."""

from __future__ import annotations

from datetime import datetime


def current_time() -> str:
    """The current date and time where the server is."""
    return datetime.now().astimezone().strftime("%A, %d %B %Y, %H:%M %Z").strip()
