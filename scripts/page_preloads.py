"""Write the module preload links of the page's index.html, or check them.

python scripts/page_preloads.py            # after a module was added, renamed or removed
python scripts/page_preloads.py --check    # exit status 1 if they are out of date

The browser learns of a module's imports only after it has loaded the module. The links let it load all of them at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "src" / "chinwag" / "page"
START = "main.js"
IMPORT = re.compile(r"^(?:import|export)\b[^;]*?\"\./([\w-]+\.js)\"", re.MULTILINE)
LINKS = re.compile(
    r"(?<=<!-- preload links: made by scripts/page_preloads.py -->\n).*?(?=^ *<!-- end -->)", re.DOTALL | re.MULTILINE
)


def imported_modules(folder: Path = PAGE, start: str = START) -> list[str]:
    """File names of the modules that `start` imports, directly or through others, in alphabetical order."""
    modules: set[str] = set()
    unread = [start]
    while unread:
        found = set(IMPORT.findall((folder / unread.pop()).read_text("utf-8"))) - modules
        modules |= found
        unread += found
    return sorted(modules)


def with_links(html: str, modules: list[str]) -> str:
    """The HTML with one preload link for each of the modules between its two markers."""
    links = "".join(f'    <link rel="modulepreload" href="{module}">\n' for module in modules)
    result, count = LINKS.subn(lambda _: links, html)
    if count != 1:
        raise SystemExit(f"index.html has {count} places for preload links, expected 1.")
    return result


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if links are out of date")
    index = PAGE / "index.html"
    html = index.read_text("utf-8")
    wanted = with_links(html, imported_modules())
    if parser.parse_args().check:
        if html != wanted:
            print(
                "The preload links of index.html are out of date. Run: python scripts/page_preloads.py", file=sys.stderr
            )
        return int(html != wanted)
    index.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
