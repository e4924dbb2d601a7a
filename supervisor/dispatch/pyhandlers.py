"""Handlers of others, in Python: of installed packages and of files in handlers.d, loaded once when the daemon starts.

What cannot be loaded is an error in the log and nothing else.  Files are held to the rules for hooks (hooks/scan.py), since
they run as root; who may install packages into the daemon's environment is root already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import structlog

from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.hooks.scan import open_checked

GROUP = "hawse.handlers"
PREFIX = "py:"

log = structlog.get_logger()


class Loader:
    """`load`, then `forget_gone` when the dispatcher knows what was loaded."""

    def __init__(self) -> None:
        self._complete = True

    def load(self, directory: Path) -> tuple[Handler, ...]:
        """Every handler that can be loaded, each name once, in the order of entry points and then of files."""
        found: dict[str, Handler] = {}
        for origin, loaded in (*_installed(), *_files(directory)):
            if isinstance(loaded, Exception):
                self._complete = False
                log.error("handler_not_loaded", origin=origin, error=f"{type(loaded).__name__}: {loaded}")
            elif loaded.name in found:
                log.error("handler_not_loaded", origin=origin, error=f"there already is a handler named {loaded.name}")
            else:
                found[loaded.name] = loaded
                log.info("handler_loaded", handler=loaded.name, origin=origin, events=loaded.types, mode=loaded.mode)
        return tuple(found.values())

    async def forget_gone(self, dispatcher: Dispatcher) -> None:
        """Cursors of handlers that were taken away would hold back pruning; one that is only broken keeps its own."""
        for name in await dispatcher.orphans() if self._complete else ():
            if name.startswith(PREFIX):
                await dispatcher.remove(name)


def _installed() -> Iterator[tuple[str, Handler | Exception]]:
    """An entry point names a handler, or a module of them."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            loaded = point.load()
        except Exception as e:
            yield point.value, e
            continue
        for handler in _within(loaded):
            yield point.value, handler


def _files(directory: Path) -> Iterator[tuple[str, Handler | Exception]]:
    for path in sorted(directory.glob("[!.]*.py")) if directory.is_dir() else ():
        try:
            module = _executed(path)
        except Exception as e:
            yield str(path), e
            continue
        for handler in _within(module):
            yield str(path), handler


def _executed(path: Path) -> ModuleType:
    """What was opened and checked is what is run; nothing is cached beside it."""
    fd = open_checked(path)
    with os.fdopen(fd, "rb") as file:
        code = compile(file.read(), str(path), "exec")
    module = ModuleType(f"handlers_d.{path.stem}")
    module.__file__ = str(path)
    exec(code, module.__dict__)
    return module


def _within(loaded: object) -> list[Handler]:
    if isinstance(loaded, Handler):
        return [loaded]
    return (
        [value for value in vars(loaded).values() if isinstance(value, Handler)]
        if isinstance(loaded, ModuleType)
        else []
    )
