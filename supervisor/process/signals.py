"""The signals that ask the daemon for something while it goes on: SIGHUP, SIGUSR1, SIGUSR2.  None of them ends it, at any time.

Held from the daemon's first line on, long before there is an event loop, and until its last: asyncio's own handlers would
be the default again, which kills, before the loop begins and after it ends.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from collections.abc import AsyncIterator
from types import FrameType

STDERR = 2
NUMBERS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Made once, in the composition root."""

    def __init__(self) -> None:
        self._heard: set[int] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came = asyncio.Event()

    def hold(self) -> None:
        """Remember them from now on.  SIGUSR1, and SIGABRT before it ends us, write the threads' stacks to stderr.

        The latter in C, in the signal's handler, so that it works whatever stands still: systemd's watchdog sends SIGABRT
        for that reason (systemd.service(5), WatchdogSignal=).  The former goes on: it looks at other threads while they
        cannot run.  faulthandler.register would look at any moment, and may end us (cpython issue 116008).
        """
        for number in NUMBERS:
            signal.signal(number, self._note)
        faulthandler.enable()

    def ignore(self) -> None:
        """The last thing: an interpreter that ends gives its handlers up, and what is ignored stays so."""
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    async def heard(self) -> AsyncIterator[int]:
        """Each signal as it comes, those from before included; several of one kind may be one."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                while self._heard:
                    yield self._heard.pop()
                self._came.clear()
                if not self._heard:
                    await self._came.wait()
        finally:
            self._loop = None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            faulthandler.dump_traceback(STDERR)
        self._heard.add(number)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._came.set)  # threadsafe: it wakes a loop that waits in epoll
