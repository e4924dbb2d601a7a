"""Crash points: named places between a change of the kernel and its record where a test can have this process killed.

    HAWSE_FAULT=start.launched          SIGKILL this process when it reaches the point
    HAWSE_FAULT=shim.exit-written:2     ... when it reaches it for the second time

Stdlib only, since shims have points too.  Unset, a point costs one comparison.  The tests find the points by reading the
code (tests/system/test_crash_points.py), so a new one without a crash test cannot be forgotten.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HAWSE_FAULT"

_armed = ""
_left = 0


def arm(text: str) -> None:
    """Set the point that kills; "" none.  Called once by each process's main with the variable's value."""
    global _armed, _left
    _armed, _, count = text.partition(":")
    _left = int(count or 1)


def point(name: str) -> None:
    """Die here, if this is the armed point."""
    global _left
    if name == _armed:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the signal may be delivered a moment later
