"""Waiting for a condition with a deadline, for conditions that nothing announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], timeout: float = 10, interval: float = 0.02) -> T:
    """The first true result of `check`.  A raised OSError or AssertionError counts as not yet.

    Raises AssertionError with the last result or error when the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            last = result = check()
            if result:
                return result
        except (OSError, AssertionError) as e:
            last = e
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {timeout} s; the last look gave {last!r}")
        time.sleep(interval)
