"""One lock per key, kept only while somebody holds or wants it: one container is serial, different ones are not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from hawse.supervisor.core.errors import Unavailable


class Busy(Unavailable):
    """Somebody is at work on it, and has been for longer than one cared to wait."""


class KeyedLocks:
    def __init__(self) -> None:
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}
        self._watchers: list[set[str]] = []

    @contextmanager
    def watching(self) -> Iterator[set[str]]:
        """The keys that are held or wanted at any moment within the block, so far."""
        seen = set(self._locks)
        self._watchers.append(seen)
        try:
            yield seen
        finally:
            self._watchers = [watcher for watcher in self._watchers if watcher is not seen]

    @asynccontextmanager
    async def hold(self, key: str, *, within: float | None = None) -> AsyncIterator[None]:
        """Raises Busy when it cannot be had in `within` seconds."""
        lock, users = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        for seen in self._watchers:
            seen.add(key)
        try:
            with anyio.move_on_after(within) as patience:
                await lock.acquire()
            if patience.cancelled_caught:
                raise Busy(f"{key} is being worked on")
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
