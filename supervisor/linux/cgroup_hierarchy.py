"""Where this machine has its control groups, and ours among them.

v2 where it has the controllers, v1 for those that are mounted there instead (a hybrid machine).  A container's directories are
`<our directory>/<container id>`; the path is the owner's tag, so whatever is below our directory and belongs to no record is
ours to remove.  On v2 our directory is the delegated unit's if that is active (systemd's rule: nobody but systemd makes
cgroups outside what it has delegated, systemd.io/CGROUP_DELEGATION), else `<mount>/<hawse[_instance]>`, as with docker's
cgroupfs driver.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.linux import cgroup_stats

CONTROLLERS = ("memory", "cpu", "cpuacct", "cpuset", "pids", "freezer", "blkio", "io", "devices")
"""What we use.  On v2 cpuacct and freezer are part of the core, v1's blkio is called io, devices are cgroup_devices.py's."""

UNIT = "hawse-containers.service"
SHIMS, KEEPER, TRIAL = "shims", "init", "trial"
"""Beside the containers' directories: their shims', that of who was in a directory before it got children, and that of
lifecycle/rehearsing.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where our cgroups are on this machine."""

    name: str  # our directory's, "hawse" or "hawse_<instance>"
    v2: Path | None  # the mount point, None where v1 has all the controllers
    unit: Path | None = None  # the delegated unit's directory on v2
    v2_controllers: frozenset[str] = frozenset()
    v1: tuple[tuple[str, Path], ...] = ()  # (controller, mount point)

    @property
    def top(self) -> Path | None:
        """Our directory on v2."""
        return self.unit or (self.v2 / self.name if self.v2 else None)

    def missing(self) -> list[str]:
        """Controllers whose limits this machine cannot enforce."""
        have = self.v2_controllers | {name for name, _ in self.v1}
        return [name for name in ("memory", "cpu", "cpuset", "pids") if name not in have]

    @property
    def has_v1_memory(self) -> bool:
        """Tell whether the memory controller is v1's, which knows swappiness and a disabled OOM killer."""
        return "memory" in dict(self.v1) and "memory" not in self.v2_controllers

    def io_support(self) -> tuple[bool, bool]:
        """Tell whether block I/O can be limited for single devices, and weighed."""
        top = self.top if "io" in self.v2_controllers else None
        if top is None and "blkio" in dict(self.v1):
            top = dict(self.v1)["blkio"] / self.name
        if top is None:
            return False, False
        if top == self.top:
            self.make_top()
        else:
            top.mkdir(exist_ok=True)
        return True, any(top.glob("*weight"))

    def tops(self) -> list[Path]:
        """Our directory in each hierarchy, each once: cpu and cpuacct are often mounted together."""
        return ([self.top] if self.top else []) + [mount / self.name for mount in dict.fromkeys(m for _, m in self.v1)]

    def owners(self) -> set[str]:
        """Ids of the containers that have a cgroup, in any hierarchy."""
        return set().union(*map(_children, self.tops()))

    def make_top(self) -> None:
        """Make our directory on v2, and hand the controllers down to it.  Raises OSError."""
        if self.v2 and self.top:
            levels = (self.top,) if self.unit else (self.v2, self.top)
            for directory in levels:
                directory.mkdir(exist_ok=True)
                _hand_down(directory, self.v2_controllers)

    def make_shims(self) -> str:
        """The shims' directory (cgroup_shims.py), made, or "" where there is none."""
        if self.top is None:
            return ""
        try:
            self.make_top()
            (self.top / SHIMS).mkdir(exist_ok=True)
        except OSError:
            return ""
        return str(self.top / SHIMS)

    def remove(self) -> None:
        """Take our own directories away when no container is left in them.  Gone is success."""
        for top in self.tops():
            for directory in (top / SHIMS, top) if top != self.unit else ():
                try:
                    os.rmdir(directory)
                except OSError as e:
                    if e.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
                        raise


def detect(instance: str = "", mountinfo: Path = Path("/proc/self/mountinfo")) -> Hierarchy:
    """Return what this machine has mounted (proc_pid_mountinfo(5))."""
    v2, v2_controllers, unit = None, frozenset[str](), None
    name = f"hawse_{instance}" if instance else "hawse"
    v1: dict[str, Path] = {}
    for line in mountinfo.read_text().splitlines():
        ours, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        mount = Path(ours.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2" and v2 is None:
            v2, unit = mount, None if instance else _delegated(mount, name)
            controllers = cgroup_stats.read((unit or mount) / "cgroup.controllers").split()
            v2_controllers = frozenset(controllers) & frozenset(CONTROLLERS)
        elif kind == "cgroup":
            v1.update((c, mount) for c in options.split(",") if c in CONTROLLERS and c not in v1)
    used = v2_controllers or not v1  # its core alone can kill, freeze and count time
    return Hierarchy(
        name=name,
        v2=v2 if used else None,
        unit=unit if used else None,
        v2_controllers=v2_controllers,
        v1=tuple(sorted(v1.items())),
    )


def make_v1(path: Path, controller: str) -> None:
    """A container's directory of one controller, and ours above it.  Raises OSError."""
    for directory in (path.parent, path):
        directory.mkdir(exist_ok=True)
        if controller == "cpuset":  # a new one is empty, and nobody can join it (cpusets.rst)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not cgroup_stats.read(directory / name).strip():
                    write(directory / name, cgroup_stats.read(directory.parent / name).strip())


def write(path: Path, value: str) -> None:
    """Do one write(2), which is what a control file takes.  Never creates it.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _delegated(mount: Path, name: str) -> Path | None:
    """The unit's directory, while it is active.

    Containers that a daemon without the unit has started stay where they are, and so does everything until none of them is
    left when a daemon starts: one daemon has one place.
    """
    if _children(mount / name):
        return None
    return next(iter(sorted(mount.glob(f"*.slice/{UNIT}"))), None)


def _children(top: Path) -> set[str]:
    try:
        with os.scandir(top) as entries:
            return {
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                and entry.name not in (SHIMS, KEEPER, TRIAL)
                and not entry.name.startswith("hook-")  # hooks/execute.py's
            }
    except FileNotFoundError:
        return set()


def _hand_down(directory: Path, controllers: frozenset[str]) -> None:
    """Enable controllers for the children, level by level (cgroup-v2.rst, "Top-down Constraint")."""
    enabled = set(cgroup_stats.read(directory / "cgroup.subtree_control").split())
    if not (missing := sorted(controllers - enabled)):
        return
    wanted = " ".join(f"+{name}" for name in missing)
    try:
        write(directory / "cgroup.subtree_control", wanted)
    except OSError as e:
        # Only the machine's root may have processes beside children.  The root that a container sees is none
        # (cgroup_namespaces(7)), and we are in it ourselves: its processes go one level down, as docker's own image does it.
        if e.errno != errno.EBUSY or not (directory / "cgroup.type").exists():
            raise
        _evacuate(directory)
        write(directory / "cgroup.subtree_control", wanted)


def _evacuate(directory: Path) -> None:
    below = directory / KEEPER
    below.mkdir(exist_ok=True)
    for pid in cgroup_stats.read(directory / "cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            write(below / "cgroup.procs", pid)
