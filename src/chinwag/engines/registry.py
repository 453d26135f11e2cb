"""Finds engines by name, through entry points; Chinwag's own come in by the same door as anyone's.

An engine package declares, say, `[project.entry-points."chinwag.tts"]  parrot = "parrot.chinwag:Parrot"`.
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
    """Every engine installed for a task, by name, sorted."""
    return sorted({point.name for point in entry_points(group=f"chinwag.{task}")})


def find(task: Task, name: str) -> type[Engine]:
    """The engine's class, ready to be loaded.

    Raises EngineError where there is none of that name, with the nearest, or where what it needs is not installed.
    """
    engine = lookup(task, name)
    if absent := missing_modules(engine):
        raise EngineError(
            f"The {task} engine {name} is not installed: there is no {' and no '.join(absent)}.",
            f"Install it: {install_command(engine)}.",
            engine=name,
        )
    return engine


def missing_modules(engine: type[Engine]) -> tuple[str, ...]:
    """The modules it imports that are not installed."""
    return tuple(module for module in engine.about.modules if importlib.util.find_spec(module) is None)


def install_command(engine: type[Engine]) -> str:
    """The command that installs what it needs."""
    about = engine.about
    return f"pip install 'chinwag[{about.extra}]'" if about.extra else f"pip install {' '.join(about.modules)}"


def lookup(task: Task, name: str) -> type[Engine]:
    """The engine's class, whether or not what it needs is installed: its libraries are loaded only by `load`.

    Raises EngineError where there is none of that name, with the nearest, or where its module cannot be imported.
    """
    for point in entry_points(group=f"chinwag.{task}"):
        if point.name == name:
            return _import(task, point)
    known = names(task)
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
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
