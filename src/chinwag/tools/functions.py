"""Python functions as tools, found by entry point.

A package declares `[project.entry-points."chinwag.tools"]  dice = "games.dice:roll"`. The entry point names a function
with type hints and a docstring, sync or async, or a tuple of functions. chinwag.toml enables it:
`[tools] enabled = ["dice"]`.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, cast

from pydantic import PydanticUserError, TypeAdapter, ValidationError, validate_call
from pydantic_core import to_json

from chinwag.errors import ChinwagError, ConfigError
from chinwag.tools.tool import OWN_SERVER, Tool, ToolError

GROUP = "chinwag.tools"

log = logging.getLogger(__name__)


def installed_tools() -> list[str]:
    """List the entry-point names of all installed tools, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_tools(wanted: Sequence[str], timeout_s: float) -> list[Tool]:
    """Load the tools of the entry points named in `wanted`.

    timeout_s: limit of one call. Raises ConfigError if an entry point is missing, cannot be imported, or is not a
    function with type hints.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    found: list[Tool] = []
    for name in wanted:
        if name not in points:
            near = difflib.get_close_matches(name, points, n=1)
            fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(points)) or 'none'}."
            raise ConfigError(f"tools.enabled names a tool that is not installed: {name}.", fix)
        try:
            loaded = points[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"The tool {name} cannot be imported: {error}.", "Install what it needs.") from error
        functions = loaded if isinstance(loaded, list | tuple) else (loaded,)
        found.extend(from_function(function, timeout_s) for function in functions)
    return found


def from_function(function: Callable[..., Any], timeout_s: float) -> Tool:
    """Make a tool from a function: its name, its docstring as the description, its type hints as the JSON Schema.

    timeout_s: limit of one call. A sync function that exceeds it runs on in its thread; its result is dropped.
    Raises ConfigError if the hints cannot become a schema.
    """
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, function))
        schema = adapter.json_schema()
        checked = validate_call(function)
    except (PydanticUserError, TypeError) as error:
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(f"The tool {name} cannot be offered to a model: {error}.", "Give it type hints.") from error

    async def run(arguments: dict[str, Any]) -> str:
        try:
            async with asyncio.timeout(timeout_s):
                if inspect.iscoroutinefunction(function):
                    result = await checked(**arguments)
                else:
                    result = await asyncio.to_thread(checked, **arguments)
        except ValidationError as error:
            fix = "Call the tool again with arguments that match its schema."
            raise ToolError(f"The arguments do not match the schema: {_describe(error)}.", fix) from error
        except TimeoutError as error:
            raise ToolError(f"The call took longer than {timeout_s:g} s.") from error
        except ChinwagError as error:
            raise ToolError(error.message, error.fix) from error
        except Exception as error:
            log.exception("the tool %s failed", function.__name__)
            raise ToolError(f"The call failed: {error or type(error).__name__}.") from error
        return result if isinstance(result, str) else to_json(result, fallback=str).decode()

    described = inspect.getdoc(function) or ""
    parameters = {"type": "object", "properties": {}, **schema}
    return Tool(function.__name__, described, parameters, run, server=OWN_SERVER, server_name=function.__name__)


def _describe(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False))
