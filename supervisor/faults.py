"""Crash points: named places between a change of the kernel and its record where a test can have this process killed.

    HAWSE_FAULT=start.launched          SIGKILL this process when it reaches the point
    HAWSE_FAULT=shim.exit-written:2     ... when it reaches it for the second time
    HAWSE_FAULT=shim.told@/tmp/mark     ... and leave that file, for whoever cannot see the process die

Stdlib only, since spawner, shims and midwives have points too; those inherit what the spawner was armed with.  Unset, a
point costs one comparison.  The tests find the points by reading the code (tests/system/test_crash_points.py), so a new one
without a crash test cannot be forgotten.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "HAWSE_FAULT"

_armed = ""
_left = 0
_mark = ""


def arm(text: str) -> None:
    """Set the point that kills; "" none.  Called once by the mains of daemon and spawner with the variable's value."""
    global _armed, _left, _mark
    text, _, _mark = text.partition("@")
    _armed, _, count = text.partition(":")
    _left = int(count or 1)


def is_armed() -> bool:
    """Somebody waits for a certain process to die: what walks the same way for other reasons keeps off."""
    return bool(_armed)


def point(name: str) -> None:
    """Die here, if this is the armed point."""
    global _left
    if name == _armed:
        _left -= 1
        if _left == 0:
            if _mark:
                os.close(os.open(_mark, os.O_WRONLY | os.O_CREAT, 0o600))
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the signal may be delivered a moment later
