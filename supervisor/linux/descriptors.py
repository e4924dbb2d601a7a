"""How many more files this process may have open."""

from __future__ import annotations

import os
import resource

from hawse.supervisor.core.errors import Unavailable

KEPT_FREE = 16
"""What a stop, an end and a removal have open for a moment: with fewer nothing could be ended, and none would become free."""


def check_room() -> None:
    """Raises Unavailable when what comes now would take the last ones."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.open("/", os.O_PATH | os.O_CLOEXEC)  # all below it are in use (open(2))
    except OSError:
        lowest = limit
    else:
        os.close(lowest)
    if lowest >= limit - KEPT_FREE:
        raise Unavailable(
            f"too many open files: the daemon has {lowest} of at most {limit}, and the rest is for ending containers",
            hint="end some containers, or raise LimitNOFILE= in the unit of hawse",
        )
