"""Handlers of others, in Python: of installed packages and of files in handlers.d, loaded once when the daemon starts.

What cannot be loaded, or not in time, is an error in the log and nothing else.  Files are held to the rules for hooks
(hooks/scan.py), since they run as root; who may install packages into the daemon's environment is root already.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

import structlog

from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.hooks.scan import open_checked

GROUP = "hawse.handlers"
PREFIX = "py:"
DEADLINE: Final = 10.0  # seconds for one file or entry point to be imported

log = structlog.get_logger()


class Loader:
    """`load`, then `forget_gone` when the dispatcher knows what was loaded."""

    def __init__(self) -> None:
        self._complete = True

    def load(self, directory: Path) -> tuple[Handler, ...]:
        """Every handler that can be loaded, each name once, in the order of entry points and then of files."""
        found: dict[str, Handler] = {}
        for origin, loaded in (*_installed(), *_files(directory)):
            if isinstance(loaded, BaseException):
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


def _installed() -> Iterator[tuple[str, Handler | BaseException]]:
    """An entry point names a handler, or a module of them."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        for handler in _loaded(point.load):
            yield point.value, handler


def _files(directory: Path) -> Iterator[tuple[str, Handler | BaseException]]:
    for path in sorted(directory.glob("[!.]*.py")) if directory.is_dir() else ():
        for handler in _loaded(partial(_executed, path)):
            yield str(path), handler


def _loaded(load: Callable[[], object]) -> list[Handler] | list[BaseException]:
    """In a thread, because an import can hang, or exit; one that hangs is left behind and does not keep the daemon."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(load())
        except BaseException as e:
            ended.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    (loaded,) = ended or (TimeoutError(f"not imported in {DEADLINE:g} s"),)
    return [loaded] if isinstance(loaded, BaseException) else _within(loaded)


def _executed(path: Path) -> ModuleType:
    """Run the file: what was opened and checked is what is run; nothing is cached beside it."""
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
