"""The sizes at which the page is tried: what Browser.new_context takes."""

from __future__ import annotations

from typing import Any

import pytest

Screen = dict[str, Any]

DESKTOP: Screen = {"viewport": {"width": 1280, "height": 800}}
PHONE: Screen = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

EACH_SCREEN = pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
