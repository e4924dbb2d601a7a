"""The steps by which init builds the root, one after the other, on the inside.

Nothing here follows a symlink of the image out of the root: targets are resolved by linux/rooted.py and reached by
descriptor.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Protocol

from hawse.supervisor.linux import mountinfo, mounts, rooted
from hawse.supervisor.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    Filesystem,
)
from hawse.supervisor.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

HARDENED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
"""The device nodes that every container has: name → (major, minor)."""


class Root:
    """The root being built: its descriptor, and the detached mounts that came from the midwife."""

    def __init__(self, fd: int, sources: list[int]) -> None:
        self.fd = fd
        self.sources = sources
        self._empty = -1
        self._proc = -1  # the device number of the container's /proc

    def keep_free(self, proc: int) -> None:
        """Nothing of the user's may be mounted in this file system, however its target leads there (CVE-2019-16884)."""
        self._proc = os.fstat(proc).st_dev

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
            self._check(place, target)
            mounts.attach(mount, place, target)
        finally:
            os.close(place)

    def _check(self, place: int, target: str) -> None:
        """The plan has judged what the target says; this is where the links of the image lead."""
        there, root = os.fstat(place), os.fstat(self.fd)
        if there.st_dev == self._proc:
            raise OSError(errno.EACCES, f"mount target {target}: nothing may be mounted inside /proc")
        if (there.st_dev, there.st_ino) == (root.st_dev, root.st_ino):
            raise OSError(errno.EACCES, f"mount target {target}: destination can't be '/'")

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
class Bind:
    """Attach the source with that index.  `alone`: what is mounted below it has no part in its propagation.

    That can only be said of mounts that are attached: the kernel changes no other than the top one of a detached tree.
    """

    source: int
    target: str
    alone: bool = False

    def describe(self) -> str:
        return f"bind on {self.target}"

    def execute(self, root: Root) -> None:
        top = root.sources[self.source]
        root.attach(top, self.target)
        if self.alone:
            table = mountinfo.read()
            for point in mountinfo.below(table, table[mountinfo.mount_id(top)].point):
                self._set_apart(top, point)

    def _set_apart(self, top: int, point: str) -> None:
        try:
            submount = openat2(top, point, os.O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except FileNotFoundError:
            return  # hidden by another mount, or gone by now
        try:
            mounts.set_propagation(submount, mounts.MS_PRIVATE, recursive=True, target=point)
        finally:
            os.close(submount)


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
            if self.kind == "proc":
                root.keep_free(mount)
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
    """Hide a path if it exists: a directory behind an empty one, a file behind our /dev/null."""

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
