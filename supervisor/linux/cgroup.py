"""Control groups: one per container, made before its processes and removed after them.

Where they are is `cgroup_hierarchy.py`'s.  Everything here is a few small file operations (some 10 µs each), hence sync; only
an end can take longer (`clear`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from anyio import CancelScope

from hawse.supervisor.core.errors import HawseError, KernelError, UserError
from hawse.supervisor.core.model import Resources
from hawse.supervisor.linux import cgroup_devices, cgroup_io, cgroup_limits, cgroup_stats, process, threads
from hawse.supervisor.linux.cgroup_devices import Rule
from hawse.supervisor.linux.cgroup_hierarchy import CONTROLLERS, Hierarchy, make_v1, write
from hawse.supervisor.linux.cgroup_limits import Setting
from hawse.supervisor.linux.cgroup_stats import Account, Stats

REMOVE_DEADLINE = FREEZE_DEADLINE = 10.0
"""Seconds.  Who is killed or frozen has to run once more for that, and a busy machine lets it wait."""
KILL_BATCH = 128  # pidfds open at a time


class Cgroup:
    """One container's directories.  Made by `create`, or named by `open`, which touches nothing."""

    def __init__(self, hierarchy: Hierarchy, container_id: str) -> None:
        self.hierarchy, self.id = hierarchy, container_id
        self._v2 = hierarchy.top / container_id if hierarchy.top else None
        self._v1 = {c: mount / hierarchy.name / container_id for c, mount in hierarchy.v1}

    @classmethod
    def open(cls, hierarchy: Hierarchy, container_id: str) -> Self:
        return cls(hierarchy, container_id)

    @classmethod
    def create(
        cls, hierarchy: Hierarchy, container_id: str, limits: Resources, devices: Sequence[Rule] | None = None
    ) -> Self:
        """Make the directories and set the limits; one that is there already is used again.  `devices` None: all.

        Raises UserError for limits that this machine cannot keep, KernelError; then nothing is left.
        """
        cgroup = cls(hierarchy, container_id)
        cgroup._check(limits)
        try:
            if cgroup._v2:
                hierarchy.make_top()
                cgroup._v2.mkdir(exist_ok=True)
            for controller, path in cgroup._v1.items():
                make_v1(path, controller)
            cgroup.update(limits, fresh=True)
            if devices is not None:
                cgroup._restrict(devices)
        except BaseException as e:
            cgroup.remove()
            if isinstance(e, OSError):
                raise KernelError("cgroup", e.errno or 0, e.filename or "") from e
            raise
        return cgroup

    @property
    def v2_path(self) -> str:
        return str(self._v2 or "")

    @property
    def v1_paths(self) -> list[str]:
        """Each directory once; memory's first, the others do not matter."""
        ordered = sorted(self._v1.items(), key=lambda item: CONTROLLERS.index(item[0]))
        return list(dict.fromkeys(str(path) for _, path in ordered))

    def paths(self) -> list[Path]:
        return [Path(p) for p in (self.v2_path, *self.v1_paths) if p]

    def update(self, limits: Resources, *, fresh: bool = False) -> None:
        """Set limits; with `fresh`, those that a new cgroup has anyway are left alone.  Raises UserError, KernelError."""
        if not fresh:
            self._check(limits)
        for path, setting in self._settings(limits, fresh):
            try:
                write(path, setting.value)
            except FileNotFoundError:
                if "swap" not in setting.file and "memsw" not in setting.file:  # no swap accounting: none to limit
                    raise
            except OSError as e:
                raise _refused(setting, e) from e

    def pids(self) -> set[int]:
        """Everybody in it, sub-groups included; empty when it is gone."""
        found: set[int] = set()
        for path in self.paths():
            for directory in _tree(path):
                found.update(map(int, cgroup_stats.read(directory / "cgroup.procs").split()))
        return found

    def kill(self) -> None:
        """SIGKILL to everybody in it, whatever it forks meanwhile."""
        if self._v2 and (self._v2 / "cgroup.kill").exists():
            try:
                write(self._v2 / "cgroup.kill", "1")
            except FileNotFoundError:
                pass
            return
        # Frozen, it cannot fork away from us; a frozen v1 task takes its signal when it is thawed.
        self._set_frozen(frozen=True)
        try:
            pids = sorted(self.pids())
            for start in range(0, len(pids), KILL_BATCH):
                self._kill_all(pids[start : start + KILL_BATCH])
        finally:
            self._set_frozen(frozen=False)

    def freeze(self) -> None:
        """Stop everybody in it, and wait until they have stopped.  Raises KernelError when they do not."""
        deadline = time.monotonic() + FREEZE_DEADLINE
        self._set_frozen(frozen=True)
        while not self._is_frozen():  # the kernel offers no event on v1, and the wait is microseconds
            if time.monotonic() > deadline:
                self._set_frozen(frozen=False)
                raise KernelError("freeze", errno.EBUSY, self.id[:12])
            time.sleep(0.001)
            self._set_frozen(frozen=True)  # v1: a task that was not freezable a moment ago is tried again

    def thaw(self) -> None:
        self._set_frozen(frozen=False)

    def stats(self) -> Stats:
        if self._v2 and (not self._v1 or "memory" in self.hierarchy.v2_controllers):
            return cgroup_stats.read_v2(self._v2)
        return cgroup_stats.read_v1(self._v1)

    def account(self) -> Account:
        """Return what it used in its whole life."""
        if self._v2 and (not self._v1 or "memory" in self.hierarchy.v2_controllers):
            return cgroup_stats.account_v2(self._v2)
        return cgroup_stats.account_v1(self._v1)

    @property
    def memory_path(self) -> Path | None:
        """The directory that the memory controller has."""
        return self._v2 if "memory" in self.hierarchy.v2_controllers else self._v1.get("memory")

    def oom_kills(self) -> int:
        """Return how many processes in it the kernel killed for want of memory; 0 when it is gone."""
        return cgroup_stats.oom_kills(self.memory_path) if self.memory_path else 0

    def is_stuck(self) -> bool:
        """All of it waits for memory, since nobody is to be killed (`--oom-kill-disable`, v1)."""
        path = self.memory_path
        return path is not None and cgroup_stats.is_stuck(path)

    def remove(self, deadline: float = REMOVE_DEADLINE) -> bool:
        """Kill what is left in it and take the directories away.  Gone is success.

        False when something in it would not die (uninterruptible sleep): whoever sweeps comes again.
        """
        give_up = time.monotonic() + deadline
        pause = 0.001
        while not self._remove_once():
            if time.monotonic() > give_up:
                return False
            self.kill()
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    async def clear(self) -> bool:
        """`remove` for the event loop: what does not go at once is waited for in a thread, cancelled or not."""
        gone = self._remove_once()
        if not gone:
            with CancelScope(shield=True):
                try:
                    gone = await threads.run_sync(self.remove)
                except KernelError:  # no thread to be had: whoever sweeps comes again
                    gone = False
        return gone

    def _remove_once(self) -> bool:
        left = [path for path in self.paths() if not _rmdir(path)]
        return not [below for path in left for below in _tree(path) if not _rmdir(below)]

    def _restrict(self, devices: Sequence[Rule]) -> None:
        if "devices" in self._v1:
            cgroup_devices.restrict_v1(self._v1["devices"], devices)
        elif self._v2:
            try:
                cgroup_devices.restrict_v2(self._v2, devices)
            except OSError as e:
                raise KernelError("bpf (device rules)", e.errno or 0, self.v2_path) from e

    def _check(self, limits: Resources) -> None:
        missing = self.hierarchy.missing()
        for name, wanted in (
            ("memory", limits.memory),
            ("cpu", limits.cpus or (limits.cpu_quota or 0) > 0),
            ("cpuset", limits.cpuset_cpus or limits.cpuset_mems),
            ("pids", limits.pids_limit if (limits.pids_limit or 0) > 0 else None),
        ):
            if wanted and name in missing:
                raise UserError(
                    f"Your kernel does not support the {name} limit or the {name} cgroup is not mounted",
                    hint="see `hawse info`",
                )
        for what, asked in (("cpus", limits.cpuset_cpus), ("mems", limits.cpuset_mems)):
            if asked:
                cgroup_limits.check_cpuset(what, asked, self._available(what))

    def _available(self, what: str) -> str:
        """`what`: cpus or mems."""
        if "cpuset" in self.hierarchy.v2_controllers and self.hierarchy.v2:
            return cgroup_stats.read((self.hierarchy.unit or self.hierarchy.v2) / f"cpuset.{what}.effective")
        return cgroup_stats.read(dict(self.hierarchy.v1)["cpuset"] / f"cpuset.effective_{what}")

    def _settings(self, limits: Resources, fresh: bool) -> Iterator[tuple[Path, Setting]]:
        if self._v2:
            io = cgroup_io.settings_v2(limits, cgroup_io.weight_file(self._v2))
            for setting in (*cgroup_limits.settings_v2(limits), *io):
                if setting.controller in self.hierarchy.v2_controllers and not (fresh and setting.is_default):
                    yield self._v2 / setting.file, setting
        wanted = [
            (self._v1[s.controller] / s.file, s)
            for s in (*cgroup_limits.settings_v1(limits), *self._io_v1(limits))
            if s.controller in self._v1 and not (fresh and s.is_default)
        ]
        if not fresh and self._grows_memory(limits):
            # v1 keeps memory ≤ memory+swap at every moment, so the larger one moves first.
            wanted.sort(key=lambda item: "memsw" not in item[1].file)
        yield from wanted

    def _io_v1(self, limits: Resources) -> Iterator[Setting]:
        if "blkio" in self._v1:
            yield from cgroup_io.settings_v1(limits, cgroup_io.weight_file(self._v1["blkio"]))

    def _grows_memory(self, limits: Resources) -> bool:
        now = cgroup_stats.read_v1(self._v1).memory_limit
        return now is not None and (limits.memory is None or limits.memory > now)

    def _set_frozen(self, *, frozen: bool) -> None:
        try:
            if self._v2 and (self._v2 / "cgroup.freeze").exists():
                write(self._v2 / "cgroup.freeze", "1" if frozen else "0")
            elif "freezer" in self._v1:
                write(self._v1["freezer"] / "freezer.state", "FROZEN" if frozen else "THAWED")
        except FileNotFoundError:
            pass

    def _is_frozen(self) -> bool:
        if self._v2 and (self._v2 / "cgroup.freeze").exists():
            return "frozen 1" in cgroup_stats.read(self._v2 / "cgroup.events")
        return "freezer" not in self._v1 or cgroup_stats.read(self._v1["freezer"] / "freezer.state") != "FREEZING\n"

    def _kill_all(self, pids: list[int]) -> None:
        with contextlib.ExitStack() as stack:
            pinned = {}
            for pid in pids:
                if (pidfd := process.pin(pid)) is not None:
                    stack.callback(os.close, pidfd)
                    pinned[pid] = pidfd
            for pid in self.pids() & pinned.keys():  # still ours, now that the pids are pinned
                try:
                    signal.pidfd_send_signal(pinned[pid], signal.SIGKILL)
                except ProcessLookupError:
                    pass


def _tree(path: Path) -> list[Path]:
    """The directory and those below it, children first.  Programs with privileges make sub-groups of their own."""
    return [Path(directory) for directory, _, _ in os.walk(path, topdown=False)]


def _rmdir(path: Path) -> bool:
    """Tell whether it is gone now."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as e:
        if e.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise KernelError("rmdir", e.errno or 0, str(path)) from e
        return False
    return True


def _refused(setting: Setting, error: OSError) -> HawseError:
    if setting.controller in ("io", "blkio") and error.errno == errno.ENODEV:
        return UserError(
            f"the kernel refuses {setting.file} = {setting.value}: not a whole disk", hint="/dev/sda, not /dev/sda1"
        )
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.EBUSY):
        return UserError(f"the kernel refuses {setting.file} = {setting.value}: {os.strerror(error.errno)}")
    return KernelError("write", error.errno or 0, setting.file)
