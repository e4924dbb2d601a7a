"""How often one object may be repaired: at once at first, then ever more rarely while somebody keeps breaking it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

FREE = 8  # repairs of one object that need not wait
FIRST_PAUSE = 0.5  # seconds, doubling
LONGEST_PAUSE = 5.0
QUIET = 60.0  # seconds without damage after which an object's past is forgotten


@dataclass(slots=True)
class _Past:
    repairs: int = 0
    last: float = 0.0
    not_before: float = 0.0


class Limiter:
    def __init__(self) -> None:
        self._past: dict[str, _Past] = {}

    def wait(self, object_: str, now: float) -> float:
        """Seconds until the object may be repaired again; 0 now."""
        past = self._past.get(object_)
        if past is None or now - past.last > QUIET + LONGEST_PAUSE:
            return 0.0
        return max(0.0, past.not_before - now)

    def repaired(self, object_: str, now: float) -> bool:
        """Count a repair.  True when it was the one with which the pauses begin: two tools are fighting over it."""
        past = self._past.setdefault(object_, _Past())
        if now - past.last > QUIET + LONGEST_PAUSE:
            past.repairs = 0
        past.repairs += 1
        past.last = now
        if past.repairs >= FREE:
            past.not_before = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(past.repairs - FREE, 20))
        for gone in [o for o, p in self._past.items() if now - p.last > QUIET + LONGEST_PAUSE]:
            del self._past[gone]
        return past.repairs == FREE
