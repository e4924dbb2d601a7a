"""A container's device nodes: its own, made by the midwife like those of the host.

What a container says of the owner, mode and times of /dev/null is kept with its own node; the host's, bound into the
container, would change for everybody (root without a user namespace may do that, and mapped root where ids are mapped).
The nodes lie in the container's run directory, which only the host's root can enter.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from hawse.supervisor.linux import mounts
from hawse.supervisor.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID

ANY = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A detached mount of a node made at `node`, the twin of the host's at `path`.

    Ids that the container's map does not hold belong to nobody inside.
    """

    path: str
    node: str
    device: tuple[int, int]  # (major, minor) that the host's must be (CVE-2025-31133), or ANY
    uid_base: int | None
    uid_count: int

    def describe(self) -> str:
        return f"device node {self.path}"

    def open(self, userns: int) -> int:
        """Raises OSError."""
        status = self._host_status()
        try:
            return self._mount(self._make(status), clear=MOUNT_ATTR_NODEV)
        except PermissionError:
            # A daemon that may not make nodes is less than root of the host: then it, and so what it starts, owns no device
            # either that could be spoiled.
            return self._mount(self.path, clear=0)

    def _host_status(self) -> os.stat_result:
        status = os.stat(self.path)
        kind = stat.S_ISCHR(status.st_mode) or (self.device == ANY and stat.S_ISBLK(status.st_mode))
        found = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if not kind or self.device not in (ANY, found):
            raise OSError(errno.ENODEV, f"{self.path} is not the device it should be")
        return status

    def _make(self, like: os.stat_result) -> str:
        """Make it anew at each start: the last one may have been changed from inside.  Returns its path."""
        directory = os.path.dirname(self.node)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        try:
            os.unlink(self.node)
        except FileNotFoundError:
            pass
        os.mknod(self.node, like.st_mode, like.st_rdev)
        os.chown(self.node, self._outside(like.st_uid), self._outside(like.st_gid))
        os.chmod(self.node, stat.S_IMODE(like.st_mode))  # whatever the umask
        return self.node

    def _outside(self, number: int) -> int:
        """The host's id of what has that number inside."""
        return self.uid_base + number if self.uid_base is not None and number < self.uid_count else number

    def _mount(self, path: str, *, clear: int) -> int:
        mount = mounts.open_tree(path)
        try:
            # /run mostly is nodev.
            mounts.set_attributes(mount, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, clear=clear, target=path)
        except BaseException:
            os.close(mount)
            raise
        return mount
