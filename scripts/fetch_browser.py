"""Find a Chromium for the browser tests, or get one; prints its path. Exits 1 with a next step where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "~/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "${PROGRAMFILES}/Google/Chrome/Application/chrome.exe",
    "${PROGRAMFILES(X86)}/Google/Chrome/Application/chrome.exe",
    "${LOCALAPPDATA}/Google/Chrome/Application/chrome.exe",
    "${PROGRAMFILES(X86)}/Microsoft/Edge/Application/msedge.exe",
)
HELP = (
    "No Chromium or Chrome was found, and none could be installed. Install one (Debian and Ubuntu: "
    "apt-get install chromium), or set CHINWAG_BROWSER to its path, and run this again."
)


def find() -> Path | None:
    """The first browser that is there: CHINWAG_BROWSER, playwright's own, the PATH, then the usual places."""
    return next((path for path in _candidates() if path.is_file()), None)


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("CHINWAG_BROWSER"):
        yield Path(chosen)
        return  # a wrong choice must not be passed over in silence
    if own := _playwrights_own():
        yield own
    yield from (Path(found) for name in NAMES if (found := shutil.which(name)))
    yield from (Path(os.path.expandvars(place)).expanduser() for place in PLACES)


def _playwrights_own() -> Path | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def install() -> None:
    """Get a browser: playwright's download first, then the system's package where this may install one."""
    deps = ["--with-deps"] if _is_root() else []
    if _run([sys.executable, "-m", "playwright", "install", *deps, "chromium"]):
        return
    if shutil.which("apt-get") and _is_root():
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _run(command: list[str]) -> bool:
    print("Running:", " ".join(command), file=sys.stderr)
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0


def main() -> int:
    if os.environ.get("CHINWAG_BROWSER") and find() is None:
        print(f"CHINWAG_BROWSER names {os.environ['CHINWAG_BROWSER']}, which is not a file.", file=sys.stderr)
        return 1
    browser = find()
    if browser is None:
        install()
        browser = find()
    if browser is None:
        print(HELP, file=sys.stderr)
        return 1
    print(browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
