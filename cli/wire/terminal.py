"""The user's terminal in raw mode, given back whatever happens: return, exception, or a signal that ends us."""

from __future__ import annotations

import os
import signal
import termios
import tty
from types import FrameType

from hawse.cli.errors import Failure, Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class RawTerminal:
    """A context manager.  Signals that would end the process become Interrupted, so that the way out passes here."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None
        self._handlers: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> RawTerminal:
        self._saved = termios.tcgetattr(self._fd)
        for number in _ENDING:
            self._handlers.append((number, signal.signal(number, _end)))
        self._handlers.append((signal.SIGTSTP, signal.signal(signal.SIGTSTP, self._stop)))
        try:
            tty.setraw(self._fd, termios.TCSANOW)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A second signal on the way out must not keep the terminal raw.
        with _blocked():
            self._restore()
            for number, handler in self._handlers:
                signal.signal(number, handler)
            self._handlers.clear()

    def _restore(self) -> None:
        if self._saved is None:
            return
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
        except termios.error:
            pass  # the terminal has hung up: nothing is left to give back

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stopped by another process: the shell gets its terminal back until we are continued."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setraw(self._fd, termios.TCSANOW)


class _blocked:
    """Within it no ending signal is delivered; nor SIGTTOU, which stops a background process that sets its terminal."""

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDING, signal.SIGTTOU))

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def _end(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def size(fd: int = 1) -> tuple[int, int] | None:
    """(rows, columns) of a terminal; None when it is none or does not know."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def require(interactive: bool, terminal: bool) -> None:
    """`-it` wants a terminal to be interactive with.  Raises Failure."""
    if interactive and terminal and not os.isatty(0):
        raise Failure("the input device is not a TTY")
