"""What one asker may have of a server that it shares with others: so many at a time, so many at once.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

_MANY = 4096  # askers that are remembered before those that have been quiet are forgotten


class Rate:
    """`per_second` of something for every asker, and `burst` of it at once after a silence: a token bucket each."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # asker → what was left, and when

    def take(self, asker: Hashable, now: float) -> bool:
        """Tell whether it may have one more; then that is counted."""
        left = self._left(asker, now)
        if left < 1:
            return False
        if len(self._buckets) >= _MANY:
            self._buckets = {a: b for a, b in self._buckets.items() if self._left(a, now) < self._burst}
        self._buckets[asker] = (left - 1, now)
        return True

    def _left(self, asker: Hashable, now: float) -> float:
        left, when = self._buckets.get(asker, (self._burst, now))
        return min(self._burst, left + (now - when) * self._per_second)


class Places:
    """Places that are held for a while: at most `each` by one asker and `altogether` by all of them."""

    def __init__(self, each: int, altogether: int) -> None:
        self._each, self._altogether = each, altogether
        self._held: Counter[Hashable] = Counter()

    def take(self, asker: Hashable) -> bool:
        """Tell whether there was one; then it is the asker's until `release`."""
        if self._held[asker] >= self._each or self._held.total() >= self._altogether:
            return False
        self._held[asker] += 1
        return True

    def release(self, asker: Hashable) -> None:
        self._held[asker] -= 1
        if not self._held[asker]:
            del self._held[asker]
