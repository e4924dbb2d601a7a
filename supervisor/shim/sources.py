"""Detached mounts that only the host's root can make: layers and bind mounts, with the container's ids mapped in.

The midwife opens them in the plan's order and passes the descriptors to init.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from hawse.supervisor.linux import mountinfo, mounts
from hawse.supervisor.linux.mounts import MS_PRIVATE, MS_SHARED, MS_SLAVE, Filesystem

HOST_USERNS = "run it with --userns host, or keep it on another file system"
PROPAGATION = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A detached copy of the mount of a host path."""

    path: str
    attributes: int
    recursive: bool = False
    idmap: bool = False
    propagation: str = "rprivate"  # or private, (r)slave, (r)shared

    def describe(self) -> str:
        return f"clone {self.path}{' with ids mapped' if self.idmap else ''}"

    def open(self, userns: int) -> int:
        """Raises OSError with a hint where the file system cannot map ids."""
        place = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        try:
            mount = self._copy(place)
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

    def _copy(self, place: int) -> int:
        """Raises OSError, with docker's words, where there is no peer group to stay in or to listen to."""
        propagation = PROPAGATION[self.propagation.removeprefix("r")]
        if propagation == MS_PRIVATE:
            return mounts.open_tree("", place, recursive=self.recursive)
        original = mountinfo.read()[mountinfo.mount_id(place)]
        if not original.shared and (propagation == MS_SHARED or not original.slave):
            kind = "shared" if propagation == MS_SHARED else "shared or slave"
            raise OSError(errno.EINVAL, f"path {self.path} is mounted on {original.point} but it is not a {kind} mount")
        return mounts.open_tree("", place, recursive=self.recursive, propagation=propagation)

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
            raise OSError(
                e.errno, f"{self.path}: its file system does not support id-mapped mounts; {HOST_USERNS}"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SysfsSource:
    """A sysfs made by the midwife while she is in the container's network namespace, which is not the container's own.

    Only the owner of a network namespace may mount its sysfs.
    """

    attributes: int

    def describe(self) -> str:
        return "sysfs of a shared network namespace"

    def open(self, userns: int) -> int:
        with Filesystem("sysfs") as fs:
            return fs.mount(self.attributes)
