"""What a container's root is made of, as values: `plan(spec)` decides, `describe()` tells, `open`/`execute` act.

Two kinds.  A Source is a detached mount that only the host's root can make (a layer, a bind mount, a device node, all with
the container's ids mapped in); the shim opens them in order and passes the descriptors to init.  An Operation is a step
that init takes inside, on the new root, in order.  Nothing here follows a symlink of the image out of the root: targets
are resolved by linux/rooted.py and reached by descriptor.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from hawse.supervisor.linux import mounts, rooted
from hawse.supervisor.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    Filesystem,
)
from hawse.supervisor.linux.syscalls import RESOLVE_NO_SYMLINKS
from hawse.supervisor.runtime.protocol import MountSpec, ShimSpec

HARDENED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
CGROUP = "/sys/fs/cgroup"
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "/dev/ptmx": "pts/ptmx",
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/core": "/proc/kcore",
}
TTY_GROUP = 5
TMPFS_FLAGS = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "strictatime": MOUNT_ATTR_STRICTATIME,
}
TMPFS_UNFLAGS = {"rw": "ro", "suid": "nosuid", "exec": "noexec"}  # "dev" is not to be had
TMPFS_OPTIONS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge")
HOST_USERNS = "run it with --userns host, or keep it on another file system"


class Root:
    """The root being built: its descriptor, and the detached mounts that came from the shim."""

    def __init__(self, fd: int, sources: list[int]) -> None:
        self.fd = fd
        self.sources = sources
        self._empty = -1

    def attach(self, mount: int, target: str, *, exact: bool = False) -> None:
        """Attach `mount` at `target`, made if missing.  `exact`: a symlink on the way is refused."""
        directory = stat.S_ISDIR(os.fstat(mount).st_mode)
        place = -1
        if exact:
            try:
                place = rooted.open_path(self.fd, target, resolve=RESOLVE_NO_SYMLINKS)
            except FileNotFoundError:
                pass
        if place < 0:
            place = rooted.ensure(self.fd, target, directory=directory)
        try:
            mounts.attach(mount, place, target)
        finally:
            os.close(place)

    def existing(self, path: str) -> int | None:
        try:
            return rooted.open_path(self.fd, path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def empty_directory(self) -> int:
        """A detached, read-only, empty directory; the first is a file system of its own, the others are copies."""
        if self._empty >= 0:
            return mounts.open_tree("", self._empty)
        with Filesystem("tmpfs") as fs:
            fs.set("size", "4k")
            fs.set("mode", "755")
            self._empty = fs.mount(HARDENED | MOUNT_ATTR_RDONLY)
        return self._empty


class Operation(Protocol):
    def describe(self) -> str: ...
    def execute(self, root: Root) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A detached copy of the mount of a host path."""

    path: str
    attributes: int
    recursive: bool = False
    idmap: bool = False
    device: tuple[int, int] | None = None  # (major, minor) that it must be (CVE-2025-31133); (0, 0) = any device

    def describe(self) -> str:
        return f"clone {self.path}{' with ids mapped' if self.idmap else ''}"

    def open(self, userns: int) -> int:
        """The shim's part.  Raises OSError with a hint where the file system cannot map ids."""
        place = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        try:
            if self.device is not None:
                self._check_device(os.fstat(place))
            mount = mounts.open_tree("", place, recursive=self.recursive)
        finally:
            os.close(place)
        try:
            if self.idmap and userns >= 0:
                self._map(mount, userns)
            if self.attributes:
                mounts.set_attributes(mount, self.attributes, recursive=self.recursive, target=self.path)
        except BaseException:
            os.close(mount)
            raise
        return mount

    def _map(self, mount: int, userns: int) -> None:
        """The top mount must take the mapping; mounts below it that cannot stay unmapped, and so belong to nobody."""
        try:
            mounts.set_attributes(mount, 0, userns=userns, recursive=self.recursive, target=self.path)
        except OSError as e:
            if not mounts.is_unsupported(e):
                raise
            if self.recursive:
                try:
                    return mounts.set_attributes(mount, 0, userns=userns, target=self.path)
                except OSError as again:
                    e = again
            if self.device is None:
                raise OSError(
                    e.errno, f"{self.path}: its file system does not support id-mapped mounts; {HOST_USERNS}"
                ) from None

    def _check_device(self, status: os.stat_result) -> None:
        kind = stat.S_ISCHR(status.st_mode) or (self.device == (0, 0) and stat.S_ISBLK(status.st_mode))
        found = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if not kind or self.device not in ((0, 0), found):
            raise OSError(errno.ENODEV, f"{self.path} is not the device it should be")


@dataclass(frozen=True, slots=True, kw_only=True)
class SysfsSource:
    """A sysfs made by the shim while it is in the container's network namespace, which is not the container's own.

    Only the owner of a network namespace may mount its sysfs.
    """

    attributes: int

    def describe(self) -> str:
        return "sysfs of a shared network namespace"

    def open(self, userns: int) -> int:
        with Filesystem("sysfs") as fs:
            return fs.mount(self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Attach the source with that index."""

    source: int
    target: str

    def describe(self) -> str:
        return f"bind on {self.target}"

    def execute(self, root: Root) -> None:
        root.attach(root.sources[self.source], self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFilesystem:
    kind: str
    target: str
    attributes: int
    options: tuple[tuple[str, str], ...] = ()
    exact: bool = False

    def describe(self) -> str:
        return f"mount {self.kind} on {self.target}"

    def execute(self, root: Root) -> None:
        with Filesystem(self.kind) as fs:
            fs.set("source", self.kind)
            for key, value in self.options:
                fs.set(key, value)
            mount = fs.mount(self.attributes)
        try:
            root.attach(mount, self.target, exact=self.exact)
        finally:
            os.close(mount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    path: str
    goal: str

    def describe(self) -> str:
        return f"link {self.path} to {self.goal}"

    def execute(self, root: Root) -> None:
        parent, _, name = self.path.rpartition("/")
        place = rooted.open_path(root.fd, parent)
        try:
            os.symlink(self.goal, name, dir_fd=place)
        finally:
            os.close(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDevices:
    """Every device node of the host's /dev, for privileged containers."""

    def describe(self) -> str:
        return "device nodes of the host"

    def execute(self, root: Root) -> None:
        for directory, names, files in os.walk("/dev"):
            names[:] = [n for n in names if n not in ("pts", "shm", "mqueue", "hugepages")]
            inside = [f for f in files if f not in NODES and f not in ("ptmx", "console")]
            for name in inside:
                status = os.lstat(f"{directory}/{name}")
                if not stat.S_ISCHR(status.st_mode) and not stat.S_ISBLK(status.st_mode):
                    continue
                place = rooted.ensure(root.fd, directory, directory=True)
                try:
                    os.mknod(name, status.st_mode, status.st_rdev, dir_fd=place)
                    os.chown(name, status.st_uid, status.st_gid, dir_fd=place)
                finally:
                    os.close(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    key: str
    value: str

    def describe(self) -> str:
        return f"sysctl {self.key}={self.value}"

    def execute(self, root: Root) -> None:
        # /proc was mounted a moment ago by us, and no mount of the user's may be below it.
        path = "/proc/sys/" + (self.key if "/" in self.key else self.key.replace(".", "/"))
        fd = rooted.open_path(root.fd, path, os.O_WRONLY, RESOLVE_NO_SYMLINKS)
        try:
            os.write(fd, os.fsencode(self.value))
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Hide a path if it exists: a directory behind an empty one, a file behind the host's verified /dev/null."""

    path: str
    null: int  # index of the source of /dev/null, by now attached and so good for copies

    def describe(self) -> str:
        return f"mask {self.path}"

    def execute(self, root: Root) -> None:
        place = root.existing(self.path)
        if place is None:
            return
        try:
            if stat.S_ISDIR(os.fstat(place).st_mode):
                mount = root.empty_directory()
            else:
                mount = mounts.open_tree("", root.sources[self.null])
            mounts.attach(mount, place, self.path)
        finally:
            os.close(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """Make what is at a path, if anything, read-only: a mount as it is, anything else through a copy on top of itself."""

    path: str
    remount: bool = False

    def describe(self) -> str:
        return f"read-only {self.path}"

    def execute(self, root: Root) -> None:
        place = root.existing(self.path)
        if place is None:
            return
        try:
            if self.remount:
                mounts.set_attributes(place, MOUNT_ATTR_RDONLY, target=self.path)
                return
            mount = mounts.open_tree("", place, recursive=True)
            mounts.set_attributes(mount, MOUNT_ATTR_RDONLY, recursive=True, target=self.path)
            mounts.attach(mount, place, self.path)
            os.close(mount)
        finally:
            os.close(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    layers: int  # the first sources are the overlay's lower layers, top first
    sources: tuple[Source | SysfsSource, ...]
    operations: tuple[Operation, ...]

    def describe(self) -> str:
        return "\n".join(step.describe() for step in (*self.sources, *self.operations))


def plan(spec: ShimSpec) -> Plan:
    """Pure.  Raises ValueError for a mount that no container may have."""
    sources: list[Source | SysfsSource] = [
        Source(path=path, attributes=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, idmap=True) for path in spec.rootfs.lower
    ]

    def source(value: Source | SysfsSource) -> int:
        sources.append(value)
        return len(sources) - 1

    nodes = {
        name: source(Source(path=f"/dev/{name}", attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, device=number))
        for name, number in NODES.items()
    }
    write_protect = 0 if spec.privileged else MOUNT_ATTR_RDONLY
    operations: list[Operation] = [NewFilesystem(kind="proc", target="/proc", attributes=HARDENED, exact=True)]
    operations += [Sysctl(key=key, value=value) for key, value in spec.sysctls.items()]
    if spec.net == "new" or spec.uid_base is None:
        operations.append(NewFilesystem(kind="sysfs", target="/sys", attributes=HARDENED | write_protect, exact=True))
    else:
        operations.append(Bind(source=source(SysfsSource(attributes=HARDENED | write_protect)), target="/sys"))
    for path, target in _cgroups(spec):
        if target == CGROUP + "/":
            options = (("mode", "755"), ("size", "64k"))
            operations.append(NewFilesystem(kind="tmpfs", target=CGROUP, attributes=HARDENED, options=options))
        else:
            clone = source(Source(path=path, attributes=HARDENED | write_protect))
            operations.append(Bind(source=clone, target=target))
    if spec.cgroup_v1 and not spec.cgroup_v2 and not spec.privileged:
        operations.append(ReadOnly(path=CGROUP, remount=True))
    operations += _dev(spec, nodes)
    for path, target in spec.devices:
        clone = source(Source(path=path, attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, idmap=True, device=(0, 0)))
        operations.append(Bind(source=clone, target=target))
    for mount in sorted(spec.mounts, key=lambda m: len(_components(m.target))):
        _check_target(mount.target)
        if mount.type == "tmpfs":
            operations.append(_tmpfs(mount))
            continue
        attributes = (0 if spec.privileged else MOUNT_ATTR_NODEV) | (MOUNT_ATTR_RDONLY if mount.read_only else 0)
        clone = source(Source(path=mount.source, attributes=attributes, recursive=mount.recursive, idmap=mount.idmap))
        operations.append(Bind(source=clone, target=mount.target))
    operations += [Mask(path=path, null=nodes["null"]) for path in spec.masked]
    operations += [ReadOnly(path=path) for path in spec.read_only]
    return Plan(layers=len(spec.rootfs.lower), sources=tuple(sources), operations=tuple(operations))


def _cgroups(spec: ShimSpec) -> Iterator[tuple[str, str]]:
    """(host path, target) of the container's own cgroup directories; the target with a slash is the tmpfs for v1's."""
    if spec.cgroup_v2:
        yield spec.cgroup_v2, CGROUP
        return
    if spec.cgroup_v1:
        yield "", CGROUP + "/"
    for path in spec.cgroup_v1:
        controller = path.removeprefix(CGROUP + "/").partition("/")[0]
        yield path, f"{CGROUP}/{controller}"


def _dev(spec: ShimSpec, nodes: dict[str, int]) -> Iterator[Operation]:
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME | (0 if spec.privileged else MOUNT_ATTR_NODEV)
    options = (("mode", "755"), ("size", "65536k"))
    yield NewFilesystem(kind="tmpfs", target="/dev", attributes=attributes, options=options, exact=True)
    for name, index in nodes.items():
        yield Bind(source=index, target=f"/dev/{name}")
    group = [("gid", str(TTY_GROUP))] if spec.uid_base is None or spec.uid_count > TTY_GROUP else []
    yield NewFilesystem(
        kind="devpts",
        target="/dev/pts",
        attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
        options=(("ptmxmode", "0666"), ("mode", "0620"), *group),
    )
    options = (("mode", "1777"), ("size", str(spec.shm_size)))
    yield NewFilesystem(kind="tmpfs", target="/dev/shm", attributes=HARDENED, options=options)
    yield NewFilesystem(kind="mqueue", target="/dev/mqueue", attributes=HARDENED)
    for path, goal in LINKS.items():
        yield Symlink(path=path, goal=goal)
    if spec.privileged:
        yield HostDevices()


def _tmpfs(mount: MountSpec) -> NewFilesystem:
    """Docker's `--tmpfs` options; nosuid, nodev and noexec unless said otherwise."""
    flags = {"nosuid", "nodev", "noexec"} | ({"ro"} if mount.read_only else set())
    options = {"mode": "1777"}
    for word in filter(None, mount.data.split(",")):
        key, equals, value = word.partition("=")
        if equals and key in TMPFS_OPTIONS:
            options[key] = value
        elif word in TMPFS_FLAGS:
            flags.add(word)
        elif word in TMPFS_UNFLAGS:
            flags.discard(TMPFS_UNFLAGS[word])
        else:
            raise ValueError(f'invalid tmpfs option "{word}" for {mount.target}')
    attributes = sum(TMPFS_FLAGS[flag] for flag in flags)
    return NewFilesystem(kind="tmpfs", target=mount.target, attributes=attributes, options=tuple(options.items()))


def _components(path: str) -> list[str]:
    return [c for c in path.split("/") if c not in ("", ".")]


def _check_target(target: str) -> None:
    """CVE-2019-16884: a volume over /proc defeats what is written there.  And a root is not mounted over."""
    components = _components(target)
    if ".." in components:
        raise ValueError(f"mount target {target}: must not contain ..")
    if not components:
        raise ValueError(f"invalid mount target: destination can't be '{target or '/'}'")
    if components[0] == "proc":
        raise ValueError(f"mount target {target}: nothing may be mounted inside /proc")
