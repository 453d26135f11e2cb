"""Write the tables of docs/realtime-api.md anew, from chinwag.realtime.coverage."""

from __future__ import annotations

from pathlib import Path

from chinwag.realtime.coverage import tables

PAGE = Path(__file__).parent.parent / "docs" / "realtime-api.md"
BEGIN, END = "<!-- tables: scripts/realtime_table.py -->\n", "<!-- end of the tables -->"


def filled(page: str) -> str:
    """The page with its tables up to date."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + tables() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8", newline="\n")
