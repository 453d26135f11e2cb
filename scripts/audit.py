"""Asks whether any pinned dependency has a known hole: `make audit`.

pip-audit looks up every pin of constraints-dev.txt, which has those of constraints.txt, in PyPI's advisories, or OSV's
where PyPI's do not answer; whether one answers is asked first of a version that is known to have holes. Exit status: 1
where a hole is known; 0 where none is, and, with a plain word, where nobody could be asked: with --strict that is a 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parent.parent / "constraints-dev.txt"
SERVICES = ("pypi", "osv")
HOLED = "jinja2==3.1.0"
WITHIN_S = 240.0


def main() -> int:
    """The exit status."""
    for service in SERVICES:
        if not answers(service):
            print(f"The advisories of {service} cannot be asked from here.")
            continue
        found = asked(PINS, service)
        known = [one for one in found if one.get("vulns")]
        skipped = [one["name"] for one in found if "skip_reason" in one]
        for one in known:
            holes = "; ".join(
                f"{hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}" for hole in one["vulns"]
            )
            print(f"{one['name']} {one['version']}: {holes}")
        looked = f"{len(found)} pins were looked up at {service}"
        print(f"{looked}: {len(known)} with known holes, {len(skipped)} unknown there.")
        return int(bool(known))
    print("NOT AUDITED: no service of advisories answers from here. Run `make audit` where one does.")
    return 2 if "--strict" in sys.argv else 0


def answers(service: str) -> bool:
    """Whether it knows of the holes of what has some."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write(HOLED + "\n")
    try:
        return any(one.get("vulns") for one in asked(Path(file.name), service, within_s=20.0))
    finally:
        Path(file.name).unlink()


def asked(pins: Path, service: str, within_s: float = WITHIN_S) -> list[dict[str, Any]]:
    """What pip-audit says of each pin; nothing where it cannot ask."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--disable-pip", "--no-deps", "--format", "json",
        "--vulnerability-service", service, "--progress-spinner", "off", "--timeout", "10",
    ]  # fmt: skip
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within_s)
        told: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return told


if __name__ == "__main__":
    sys.exit(main())
