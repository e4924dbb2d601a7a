"""From a container's limits to the control files that hold them, on cgroup v2 and v1.  Pure.

kernel docs: admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/{memory,cpusets,pids}.rst, scheduler/sched-bwc.rst
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Resources

PERIOD = 100_000
"""Microseconds in which a container may use its share of CPU time, unless another period was asked for."""

SHORTEST_QUOTA = 1_000
UNLIMITED_V1 = "-1"


@dataclass(frozen=True, slots=True)
class Setting:
    """One control file and what to write to it."""

    controller: str
    file: str
    value: str

    @property
    def is_default(self) -> bool:
        """Tell whether it is what a new cgroup has anyway."""
        return self.value in ("max", UNLIMITED_V1, f"max {PERIOD}") or (self.file, self.value) in (
            ("cpu.cfs_period_us", str(PERIOD)),
            ("cpu.weight", "100"),
            ("cpu.shares", "1024"),
            ("memory.low", "0"),
        )


def settings_v2(limits: Resources) -> Iterator[Setting]:
    yield Setting("memory", "memory.max", _or_max(limits.memory))
    yield Setting("memory", "memory.low", str(limits.memory_reservation or 0))
    yield Setting("memory", "memory.swap.max", _or_max(_swap(limits)))
    quota = _quota(limits)
    yield Setting("cpu", "cpu.max", f"{'max' if quota is None else quota} {_period(limits)}")
    yield Setting("cpu", "cpu.weight", str(_weight(limits.cpu_shares)))
    yield Setting("pids", "pids.max", _or_max(_pids(limits)))
    yield from _cpuset(limits)


def settings_v1(limits: Resources) -> Iterator[Setting]:
    yield Setting("memory", "memory.limit_in_bytes", str(limits.memory or UNLIMITED_V1))
    yield Setting("memory", "memory.soft_limit_in_bytes", str(limits.memory_reservation or UNLIMITED_V1))
    swap = _swap(limits)
    both = UNLIMITED_V1 if limits.memory is None or swap is None else str(limits.memory + swap)
    yield Setting("memory", "memory.memsw.limit_in_bytes", both)
    yield Setting("cpu", "cpu.cfs_period_us", str(_period(limits)))
    yield Setting("cpu", "cpu.cfs_quota_us", str(_quota(limits) or UNLIMITED_V1))
    yield Setting("cpu", "cpu.shares", str(limits.cpu_shares or 1024))
    yield Setting("pids", "pids.max", _or_max(_pids(limits)))
    if limits.memory_swappiness is not None:
        yield Setting("memory", "memory.swappiness", str(limits.memory_swappiness))
    if limits.oom_kill_disable:
        yield Setting("memory", "memory.oom_control", "1")
    yield from _cpuset(limits)


def _cpuset(limits: Resources) -> Iterator[Setting]:
    if limits.cpuset_cpus:
        yield Setting("cpuset", "cpuset.cpus", limits.cpuset_cpus)
    if limits.cpuset_mems:
        yield Setting("cpuset", "cpuset.mems", limits.cpuset_mems)


def without_v1_memory(limits: Resources) -> tuple[Resources, list[str]]:
    """Return what a machine keeps whose memory controller is not v1's, and docker's warnings about the rest."""
    warnings = []
    if limits.memory_swappiness is not None:
        warnings.append(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
            "Memory swappiness discarded."
        )
    if limits.oom_kill_disable:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
    return replace(limits, memory_swappiness=None, oom_kill_disable=False), warnings


def parse_list(text: str) -> set[int]:
    """The kernel's list format, of CPUs or memory nodes: "0-2,4".  Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(part)
        found.update(range(low, high + 1))
    return found


def check_cpuset(what: str, wanted: str, available: str) -> None:
    """`what`: cpus or mems.  Raises UserError in docker's words."""
    try:
        missing = parse_list(wanted) - parse_list(available)
    except ValueError as e:
        raise UserError(f"Invalid value {wanted} for cpuset {what}", hint='like "0-2,4"') from e
    if missing:
        name = {"cpus": "CPUs", "mems": "memory nodes"}[what]
        raise UserError(f"Requested {name} are not available - requested {wanted}, available: {available.strip()}")


def _or_max(value: int | None) -> str:
    return "max" if value is None else str(value)


def _swap(limits: Resources) -> int | None:
    """Bytes of swap.  As with docker: memory_swap is memory and swap together, -1 is unlimited, unset is as much again."""
    if limits.memory is None or (limits.memory_swap or 0) < 0:
        return None
    return max(0, limits.memory_swap - limits.memory) if limits.memory_swap else limits.memory


def _quota(limits: Resources) -> int | None:
    if limits.cpu_quota is not None:
        return limits.cpu_quota if limits.cpu_quota > 0 else None
    return max(SHORTEST_QUOTA, round(limits.cpus * PERIOD)) if limits.cpus else None


def _period(limits: Resources) -> int:
    return limits.cpu_period or PERIOD


def _pids(limits: Resources) -> int | None:
    """0 and -1 are docker's "unlimited"."""
    return limits.pids_limit if (limits.pids_limit or 0) > 0 else None


def _weight(shares: int | None) -> int:
    """v1's shares (2 to 262144, default 1024) on v2's scale (1 to 10000, default 100), as the OCI runtimes convert them."""
    if not shares:
        return 100
    return 1 + (min(max(shares, 2), 262_144) - 2) * 9_999 // 262_142
