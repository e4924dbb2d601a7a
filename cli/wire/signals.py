"""Signals that are a program's inside rather than ours, and the window's changes: queued, and read from a descriptor."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OURS = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSTOP),  # nobody can catch them
        *(signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU),  # about us
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT),
    }
)


def forwardable() -> list[int]:
    """Every signal that is passed on to the program inside."""
    return sorted(int(number) for number in signal.valid_signals() if number not in _OURS)


class SignalQueue:
    """A context manager: the given signals no longer act on this process, `take` says which have come.

    The descriptor becomes readable when one comes, so that a loop which polls it never misses one between two checks.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = list(numbers)
        self._before: list[tuple[int, Any]] = []
        self._read = self._write = self._previous = -1

    def __enter__(self) -> SignalQueue:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._numbers:
            self._before.append((number, signal.signal(number, _queued)))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def take(self) -> list[int]:
        """Return those that came since the last call, in order."""
        try:
            return [number for number in os.read(self._read, 4096) if number in self._numbers]
        except BlockingIOError:
            return []


def _queued(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has the number already."""
