"""The shim's event loop: epoll and timers, nothing else.  Stdlib only, single-threaded."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ, WRITE, HANGUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR


class Timer:
    """A call in the future; `cancel` is allowed at any time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self._call = None

    def fire(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}  # with the number of the registration
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self.running = True

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call with the event mask whenever `fd` is ready; HANGUP comes without being asked for.  Replaces an earlier watch."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
            number = self._watched[fd][0]
        else:
            self._epoll.register(fd, events)
            number = next(self._order)
        self._watched[fd] = (number, call)

    def forget(self, fd: int) -> None:
        """Before closing `fd`.  Safe when it is not watched."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Run until somebody sets `running` to False."""
        while self.running:
            self.turn()

    def close(self) -> None:
        self._watched.clear()
        self._epoll.close()

    def turn(self, *, wait: bool = True) -> None:
        """Whatever is ready or due; with `wait`, at least something."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        if not wait:
            timeout = 0
        # A call may forget other descriptors of the same batch, and their numbers may be watched anew before it is over:
        # the end of one program's output must not be taken for that of a client that has come meanwhile.
        ready = []
        for fd, events in self._epoll.poll(timeout):  # a comprehension would be a function made anew each time
            ready.append((fd, events, self._watched[fd][0]))
        for fd, events, number in ready:
            now, call = self._watched.get(fd, (-1, None))
            if call is not None and now == number:
                call(events)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2].fire()
