"""The page's pure modules, tested in Node.js: `node --test tests/page/*.test.js` without pytest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from node import node_command

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1] / "page"


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("*.test.js")))
def test_module(file: str) -> None:
    done = subprocess.run(
        [*node_command("node"), "--test", "--test-reporter=spec", str(TESTS / file)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
