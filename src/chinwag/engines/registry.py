"""Engine classes by task and name, found through entry points (Chinwag's own engines too).

An engine package declares, for example, `[project.entry-points."chinwag.tts"]  parrot = "parrot.chinwag:Parrot"`.
"""

from __future__ import annotations

import difflib
import importlib.util
from importlib.metadata import entry_points
from typing import Any

from chinwag.engines.protocols import TASKS, Engine, Task
from chinwag.errors import EngineError

__all__ = ["TASKS", "find", "install_command", "lookup", "missing_modules", "names"]


def names(task: Task) -> list[str]:
    """List the names of all engines of a task, sorted."""
    return sorted({point.name for point in entry_points(group=f"chinwag.{task}")})


def find(task: Task, name: str) -> type[Engine]:
    """Return an engine class whose modules are installed.

    Raises EngineError for an unknown name (with the nearest one), or if a module is not installed.
    """
    engine = lookup(task, name)
    if missing := missing_modules(engine):
        raise EngineError(
            f"The {task} engine {name} is not installed: there is no {' and no '.join(missing)}.",
            f"Install it: {install_command(engine)}.",
            engine=name,
        )
    return engine


def missing_modules(engine: type[Engine]) -> tuple[str, ...]:
    """Return the modules of an engine that are not installed."""
    return tuple(module for module in engine.about.modules if importlib.util.find_spec(module) is None)


def install_command(engine: type[Engine]) -> str:
    """Return the command that installs the engine's modules."""
    about = engine.about
    return f"pip install 'chinwag[{about.extra}]'" if about.extra else f"pip install {' '.join(about.modules)}"


def lookup(task: Task, name: str) -> type[Engine]:
    """Return an engine class even if its modules are not installed: only `load` imports them.

    Raises EngineError for an unknown name (with the nearest one), or if the engine's own module cannot be imported.
    """
    for point in entry_points(group=f"chinwag.{task}"):
        if point.name == name:
            return _import(task, point)
    available = names(task)
    near = difflib.get_close_matches(name, available, n=1)
    fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(available)}."
    raise EngineError(f"There is no {task} engine called {name}.", fix, engine=name)


def _import(task: Task, point: Any) -> type[Engine]:
    try:
        engine: type[Engine] = point.load()
    except ImportError as error:
        raise EngineError(
            f"The {task} engine {point.name} cannot be imported: {error}.",
            f"Install it again: pip install --force-reinstall {point.dist.name if point.dist else 'chinwag'}.",
            engine=point.name,
        ) from error
    return engine
