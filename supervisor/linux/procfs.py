"""What /proc and /sys say about running processes, the machine's cpu time and an interface's traffic.  Daemon side.

Processes come and go while they are read: one that is gone is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST_COMMAND = 128 << 10
"""Bytes of a command line that are read: a process may show all of its memory as its own (PR_SET_MM_MAP, prctl(2))."""
ALL_COMMANDS = 8 << 20
"""And of all command lines together; for the processes after that, the name has to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One line of `ps`.  Times in seconds, `started` since the Unix epoch; `uid` as the host sees it."""

    pid: int
    ppid: int
    uid: int
    state: str
    name: str
    command: str
    terminal: int  # device number, 0 = none
    cpu: float
    started: float
    virtual: int  # bytes
    resident: int
    nice: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """An interface's counters since it was made."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


def processes(pids: Iterable[int]) -> list[Process]:
    """Return those of them that exist, by pid.  For a thread: a command line is read out of the process's own memory, which
    may be a file that does not come (FUSE).
    """
    boot, left = _boot_time(), ALL_COMMANDS
    found = []
    for pid in sorted(pids):
        if (process := _process(pid, boot, min(left, LONGEST_COMMAND))) is not None:
            found.append(process)
            left = max(0, left - len(process.command))
    return found


def _process(pid: int, boot: float, longest: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            text = f.read()
        uid = os.stat(f"/proc/{pid}").st_uid
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            argv = f.read(longest).rstrip(b"\0").replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc_pid_stat(5); field 2, the name, is in parentheses and may hold spaces and parentheses itself
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    name = head.partition(b"(")[2]
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        uid=uid,
        state=fields[0].decode(),
        name=name.decode(errors="replace"),
        command=(argv or b"[" + name + b"]").decode(errors="replace"),
        terminal=int(fields[4]),
        cpu=(int(fields[11]) + int(fields[12])) / TICK,
        started=boot + int(fields[19]) / TICK,
        virtual=int(fields[20]),
        resident=int(fields[21]) * PAGE,
        nice=int(fields[16]),
        threads=int(fields[17]),
    )


def _boot_time() -> float:
    """When the kernel started, in seconds since the Unix epoch."""
    with open("/proc/stat") as f:
        for line in f:
            if line.startswith("btime "):
                return float(line.split()[1])
    return 0.0


def machine_cpu_ns() -> int:
    """Cpu time of the whole machine, all cpus and idle included: what Docker's clients divide a container's by."""
    with open("/proc/stat") as f:
        ticks = map(int, f.readline().split()[1:9])
    return sum(ticks) * 10**9 // TICK


def machine_memory() -> int:
    return PAGE * os.sysconf("SC_PHYS_PAGES")


def traffic(interface: str) -> Traffic:
    """Zeros when there is no such interface (any more)."""
    directory = Path("/sys/class/net") / interface / "statistics"
    try:
        return Traffic(**{name: int((directory / name).read_text()) for name in Traffic.__dataclass_fields__})
    except (OSError, ValueError):
        return Traffic()
