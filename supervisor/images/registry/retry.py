"""Which failure of a registry is worth another try, and when.  Pure.

Libraries for that were looked at and not taken.  tenacity and stamina count attempts of a function, and here bytes that came in
between begin the count anew; aiohttp-retry repeats requests, and not what breaks in the middle of an answer; neither reads
Retry-After.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST, LONGEST = 0.2, 30.0
"""Seconds between tries; each is twice the one before."""
LONGEST_ASKED = 60.0
"""A registry that wants more with its Retry-After means a limit that is used up, and a person is told instead."""
PROGRESS = 64 << 10
"""Bytes that a connection must have brought to be none of the failures.  Less, and a registry could keep us for ever."""
QUICK, PATIENT = 5, 10
"""Failures in a row until one gives up: 3 s, where somebody waits for a first answer, and 81 s, in the middle of a transfer."""
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be another the next time (RFC 9110, RFC 8470, RFC 6585)."""


class Patience:
    """What one operation has left of it."""

    def __init__(self, most: int = QUICK) -> None:
        self._most, self._failures, self._brought = most, 0, 0

    def brought(self, size: int) -> None:
        """Bytes came that were not here before."""
        self._brought += size
        if self._brought >= PROGRESS:
            self._failures = self._brought = 0

    def delay(self, now: datetime, retry_after: str = "") -> float | None:
        """After one more failure, the seconds to wait for the next try; None is to give up."""
        self._failures += 1
        if self._failures >= self._most:
            return None
        own = min(FIRST * 2.0 ** (self._failures - 1), LONGEST)
        asked = seconds(retry_after, now)
        if asked is None:
            return own
        return max(asked, own) if asked <= LONGEST_ASKED else None


def is_passing(status: int) -> bool:
    """Tell whether the same request may get another answer later."""
    return status in _PASSING


def seconds(retry_after: str, now: datetime) -> float | None:
    """Read Retry-After in either of its forms (RFC 9110, 10.2.3); None when it says nothing that can be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    left = (when if when.tzinfo else when.replace(tzinfo=UTC)) - now
    return max(0.0, float(math.ceil(left.total_seconds())))
