"""Waiting for a condition with a deadline, for conditions that nothing announces."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

USUAL_PATIENCE = 60.0
PATIENCE = float(os.environ.get("HAWSE_TEST_PATIENCE", USUAL_PATIENCE))
"""Seconds that a busy machine may take for anything.  Only a failure takes so long, so that more costs nothing.

Every deadline of the tests is made of it; an emulated machine is given more by the variable.
"""
NOT_YET = (OSError, http.client.HTTPException, AssertionError, LookupError, StopIteration, ValueError)
"""What a look at something half-made raises."""


def eventually(check: Callable[[], T], timeout: float = PATIENCE, interval: float = 0.02) -> T:
    """The first true result of `check`.  What is raised by a look that came too early counts as not yet.

    Raises AssertionError with the last result or error when the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            last = result = check()
            if result:
                return result
        except NOT_YET as e:
            last = e
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {timeout} s; the last look gave {last!r}")
        time.sleep(interval)
