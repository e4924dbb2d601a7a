"""What a container uses and used, read from its cgroup.  A cgroup that is gone reads as zeros."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """What was read from and written to one block device, past the page cache."""

    major: int
    minor: int
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Memory in bytes; None is no limit."""

    memory: int = 0
    memory_peak: int = 0
    memory_limit: int | None = None
    memory_stat: dict[str, int] = field(default_factory=dict)
    oom_kills: int = 0
    cpu_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    pids: int = 0
    pids_limit: int | None = None
    blocks: tuple[Blocks, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is written down when a container ends: few files, because somebody waits to hear of the end."""

    memory_peak: int = 0
    cpu_ns: int = 0
    oom_kills: int = 0


def account_v2(path: Path) -> Account:
    return Account(
        memory_peak=_number(path / "memory.peak") or _number(path / "memory.current") or 0,
        cpu_ns=_table(path / "cpu.stat").get("usage_usec", 0) * 1000,
        oom_kills=oom_kills(path),
    )


def account_v1(paths: dict[str, Path]) -> Account:
    memory, cpuacct = (paths.get(c, Path("/nonexistent")) for c in ("memory", "cpuacct"))
    return Account(
        memory_peak=_number(memory / "memory.max_usage_in_bytes") or 0,
        cpu_ns=_number(cpuacct / "cpuacct.usage") or 0,
        oom_kills=oom_kills(memory),
    )


def read_v2(path: Path) -> Stats:
    cpu = _table(path / "cpu.stat")
    memory = _number(path / "memory.current")
    return Stats(
        memory=memory or 0,
        memory_peak=_number(path / "memory.peak") or memory or 0,  # memory.peak came with Linux 5.19
        memory_limit=_number(path / "memory.max"),
        memory_stat=_table(path / "memory.stat"),
        oom_kills=_table(path / "memory.events").get("oom_kill", 0),
        cpu_ns=cpu.get("usage_usec", 0) * 1000,
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_system_ns=cpu.get("system_usec", 0) * 1000,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        pids=_number(path / "pids.current") or 0,
        pids_limit=_number(path / "pids.max"),
        blocks=_blocks_v2(read(path / "io.stat")),
    )


def read_v1(paths: dict[str, Path]) -> Stats:
    """`paths`: controller → directory, those that are mounted."""
    memory, cpu, cpuacct, pids = (paths.get(c, Path("/nonexistent")) for c in ("memory", "cpu", "cpuacct", "pids"))
    throttling = _table(cpu / "cpu.stat")
    return Stats(
        memory=_number(memory / "memory.usage_in_bytes") or 0,
        memory_peak=_number(memory / "memory.max_usage_in_bytes") or 0,
        memory_limit=_limit_v1(memory / "memory.limit_in_bytes"),
        memory_stat=_table(memory / "memory.stat"),
        oom_kills=_table(memory / "memory.oom_control").get("oom_kill", 0),
        cpu_ns=_number(cpuacct / "cpuacct.usage") or 0,
        cpu_user_ns=_number(cpuacct / "cpuacct.usage_user") or 0,
        cpu_system_ns=_number(cpuacct / "cpuacct.usage_sys") or 0,
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
        pids=_number(pids / "pids.current") or 0,
        pids_limit=_number(pids / "pids.max"),
        blocks=_blocks_v1(paths["blkio"]) if "blkio" in paths else (),
    )


def _blocks_v2(text: str) -> tuple[Blocks, ...]:
    """ "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …" lines (cgroup-v2.rst)."""
    found = []
    for line in text.splitlines():
        device, *pairs = line.split()
        used = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if device.count(":") == 1 and {"rbytes", "wbytes", "rios", "wios"} <= used.keys():
            read_bytes, written, reads, writes = (int(used[key]) for key in ("rbytes", "wbytes", "rios", "wios"))
            major, minor = map(int, device.split(":"))
            found.append(
                Blocks(
                    major=major,
                    minor=minor,
                    read_bytes=read_bytes,
                    written_bytes=written,
                    reads=reads,
                    writes=writes,
                )
            )
    return tuple(found)


def _blocks_v1(path: Path) -> tuple[Blocks, ...]:
    """Two files of "8:0 Read 1" lines (blkio-controller.rst)."""
    bytes_, counts = (
        _by_device(read(path / f"blkio.throttle.{name}_recursive")) for name in ("io_service_bytes", "io_serviced")
    )
    return tuple(
        Blocks(
            major=major,
            minor=minor,
            read_bytes=used.get("Read", 0),
            written_bytes=used.get("Write", 0),
            reads=counts.get((major, minor), {}).get("Read", 0),
            writes=counts.get((major, minor), {}).get("Write", 0),
        )
        for (major, minor), used in bytes_.items()
    )


def _by_device(text: str) -> dict[tuple[int, int], dict[str, int]]:
    found: dict[tuple[int, int], dict[str, int]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].count(":") == 1:
            major, minor = map(int, words[0].split(":"))
            found.setdefault((major, minor), {})[words[1]] = int(words[2])
    return found


def oom_kills(memory: Path) -> int:
    """Return how often the kernel killed something for this cgroup's limit; v2's and v1's file."""
    return sum(_table(memory / name).get("oom_kill", 0) for name in ("memory.events", "memory.oom_control"))


def is_stuck(memory: Path) -> bool:
    """v1: whoever needs memory waits, since the OOM killer is off for it."""
    control = _table(memory / "memory.oom_control")
    return control.get("oom_kill_disable") == 1 and control.get("under_oom") == 1


def read(path: Path) -> str:
    """A control file's text; "" when it, or the cgroup, is not there."""
    try:
        return path.read_text()
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENODEV):  # ENODEV: it went away while its file was open
            return ""
        raise


def _number(path: Path) -> int | None:
    text = read(path).strip()
    return int(text) if text.isdigit() else None


def _limit_v1(path: Path) -> int | None:
    """v1 shows "no limit" as the largest multiple of the page size."""
    limit = _number(path)
    return None if limit is None or limit >= (1 << 63) - os.sysconf("SC_PAGE_SIZE") else limit


def _table(path: Path) -> dict[str, int]:
    """ "key number" lines."""
    pairs = (line.split() for line in read(path).splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdigit()}
