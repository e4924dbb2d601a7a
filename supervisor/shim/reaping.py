"""How a program ended, and the record of it that outlives everybody.  Stdlib only."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """`code` follows the shell: 128 + signal for a program that was killed.  Times in ns since the Unix epoch."""

    code: int
    signal: int | None
    oom: bool
    started_at: int
    finished_at: int

    def write(self, state_dir: str) -> None:
        """All or nothing under the name exit.json, so that whoever reads it reads the truth."""
        path = f"{state_dir}/exit.json"
        fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(as_dict(self)).encode())
        finally:
            os.close(fd)
        os.rename(f"{path}.tmp", path)


def as_dict(record: ExitRecord) -> dict[str, Any]:
    return {
        "code": record.code,
        "signal": record.signal,
        "oom": record.oom,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def has_ended(pidfd: int) -> bool:
    """Tell whether a child waits to be reaped.  Raises ChildProcessError, reaped before."""
    return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def reap(pidfd: int) -> tuple[int, int | None] | None:
    """(exit code, signal) of a child that has ended; None when it still runs.  Raises ChildProcessError, reaped before."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return result.si_status, None
    return 128 + result.si_status, result.si_status


def record(cgroups: list[str], code: int, signal: int | None, started_at: int) -> ExitRecord:
    oom = _oom_killed(cgroups)
    return ExitRecord(code=code, signal=signal, oom=oom, started_at=started_at, finished_at=time.time_ns())


def _oom_killed(cgroups: list[str]) -> bool:
    """The kernel's own count for the container's cgroup, which was made for this start."""
    for path in cgroups:
        file = f"{path}/memory.oom_control" if "/memory/" in path else f"{path}/memory.events"
        try:
            with open(file) as f:
                words = f.read().split()
        except OSError:
            continue
        if "oom_kill" in words:
            return words[words.index("oom_kill") + 1] != "0"
    return False
