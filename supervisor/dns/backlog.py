"""Work that waits its turn: first come, first served for one asker, turn and turn about among them.  Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()  # the front one's turn is next

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, asker: Hashable, thing: T, most: int) -> bool:
        """False when it has as many waiting as it may."""
        own = self._waiting.setdefault(asker, deque())
        if len(own) >= most:
            return False
        own.append(thing)
        return True

    def take(self) -> T:
        """The next one.  Raises KeyError when nothing waits."""
        asker, own = self._waiting.popitem(last=False)
        thing = own.popleft()
        if own:
            self._waiting[asker] = own
        return thing
