"""The mount API by descriptors (open_tree, fsopen, move_mount and so on).  Stdlib only: the child side imports it.

Descriptors instead of paths: what was checked is what gets mounted, whatever a container does to its tree meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from hawse.supervisor.linux.syscalls import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, failure, libc, syscall

FSCONFIG_CMD_CREATE = 6
FSCONFIG_SET_FD = 5
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSMOUNT_CLOEXEC = 1
FSOPEN_CLOEXEC = 1
MNT_DETACH = 2
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_STRICTATIME = 0x20
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MS_NODEV = 4
MS_PRIVATE = 1 << 18
MS_REC = 16384
MS_SHARED = 1 << 20
MS_SLAVE = 1 << 19
OPEN_TREE_CLONE = 1

_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_MOUNT_SETATTR = 442


def open_tree(path: str, dirfd: int = AT_FDCWD, *, recursive: bool = False, propagation: int = MS_PRIVATE) -> int:
    """A detached copy of the mount at `path` ("" = `dirfd` itself), with its submounts if `recursive`.

    The kernel makes a copy of a shared mount a peer of it (mount_namespaces(7)): what is mounted on the copy, in whatever
    namespace, is then on the original as well, and a root below a shared mount cannot be pivoted to.  So it becomes private
    unless `propagation` says otherwise: MS_SLAVE hears of the original's mounts, MS_SHARED stays a peer.
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    mount = syscall("open_tree", _NR_OPEN_TREE, dirfd, os.fsencode(path), flags, target=path)
    try:
        if propagation != MS_SHARED:
            set_propagation(mount, propagation, recursive=recursive, target=path)
    except BaseException:
        os.close(mount)
        raise
    return mount


def set_propagation(mount: int, propagation: int, *, recursive: bool, target: str = "") -> None:
    """MS_PRIVATE, MS_SLAVE or MS_SHARED for the mount of a descriptor, and those below it if `recursive`."""
    _set(mount, struct.pack("=4Q", 0, 0, propagation, 0), recursive, target)


def set_attributes(
    mount: int, attributes: int, *, clear: int = 0, userns: int = -1, recursive: bool = False, target: str = ""
) -> None:
    """Add MOUNT_ATTR_* to the mount of a descriptor and take `clear` away; with `userns` also map its ids into that one."""
    if userns >= 0:
        attributes |= MOUNT_ATTR_IDMAP
    _set(mount, struct.pack("=4Q", attributes, clear, 0, max(userns, 0)), recursive, target)


def _set(mount: int, value: bytes, recursive: bool, target: str) -> None:
    """`value` is a struct mount_attr (mount_setattr(2))."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", _NR_MOUNT_SETATTR, mount, b"", flags, value, len(value), target=target)


def attach(mount: int, target_fd: int, target: str) -> None:
    """Attach a detached mount on top of whatever `target_fd` is.  `target` is for the message only."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("mount", _NR_MOVE_MOUNT, mount, b"", target_fd, b"", flags, target=target)


class Filesystem:
    """A file system being configured (fsopen).  Closes itself at the end of a `with`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._fd = syscall("fsopen", _NR_FSOPEN, kind.encode(), FSOPEN_CLOEXEC, target=kind)

    def __enter__(self) -> Filesystem:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def set(self, key: str, value: str = "") -> None:
        """An option with a value, or a flag."""
        command = FSCONFIG_SET_STRING if value else FSCONFIG_SET_FLAG
        text = os.fsencode(value) if value else None
        self._config(command, key, text, 0, f"{key}={value}" if value else key)

    def set_fd(self, key: str, fd: int) -> None:
        self._config(FSCONFIG_SET_FD, key, None, fd, key)

    def mount(self, attributes: int) -> int:
        """Create it and return a detached mount of it."""
        self._config(FSCONFIG_CMD_CREATE, "", None, 0, "")
        return syscall("fsmount", _NR_FSMOUNT, self._fd, FSMOUNT_CLOEXEC, attributes, target=self.kind)

    def _config(self, command: int, key: str, value: bytes | None, aux: int, described: str) -> None:
        try:
            syscall("fsconfig", _NR_FSCONFIG, self._fd, command, key.encode() or None, value, aux)
        except OSError as e:
            raise self._explained(e, described) from None

    def _explained(self, error: OSError, described: str) -> OSError:
        """The kernel writes what it did not like into the context; that says more than EINVAL."""
        try:
            said = os.read(self._fd, 1024).decode(errors="replace").strip()
        except OSError:
            said = ""
        text = f"mount {self.kind} {described}".strip() + f": {os.strerror(error.errno or 0)}"
        return OSError(error.errno, f"{text} ({said.removeprefix('e ')})" if said else text)


def make_private() -> None:
    """No mount event leaves or enters this mount namespace any more."""
    if libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) < 0:
        raise failure("mount", "make-rprivate /")


def mount_overlay_by_path(target: str, options: str) -> None:
    """mount(2) with paths for kernels whose overlay does not take our descriptors (before 6.15)."""
    if libc.mount(b"overlay", os.fsencode(target), b"overlay", ctypes.c_ulong(MS_NODEV), os.fsencode(options)) < 0:
        raise failure("mount", "overlay")


def unmount_detached(path: bytes) -> None:
    if libc.umount2(path, MNT_DETACH) < 0:
        raise failure("umount2", os.fsdecode(path))


def is_unsupported(error: OSError) -> bool:
    """The file system or kernel cannot do it, as against: it went wrong."""
    return error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
