"""What a container wrote becomes a layer: its overlay's upper directory copied, owners back to 0-based.

The container may be running and is not trusted: everything is opened relative to descriptors without following symlinks.
Kept: data with its holes, owners, modes, times, hard links, FIFOs, extended attributes, whiteouts and opaque directories.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ID_RANGE
from hawse.supervisor.images import whiteouts
from hawse.supervisor.linux import rooted
from hawse.supervisor.linux.syscalls import RESOLVE_NO_SYMLINKS

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 8 << 20
NOBODY = 65_534
PLACEHOLDERS = frozenset({"etc/hosts", "etc/hostname", "etc/resolv.conf"})
"""Empty files that only stand below what the engine mounts there."""


@dataclass(slots=True)
class _Copy:
    source: int
    target: int
    uid_base: int
    size: int = 0
    pending: list[str] = field(default_factory=lambda: [""])
    links: dict[tuple[int, int], str] = field(default_factory=dict)
    times: list[tuple[str, os.stat_result]] = field(default_factory=list)


def copy_upper(upper: Path, target: Path, uid_base: int | None) -> int:
    """Copy `upper` into the empty directory `target`; the bytes of its files.  No upper, no changes.  Blocking.

    Raises OSError, UserError for what cannot be kept.
    """
    try:
        source = os.open(upper, _DIRECTORY)
    except FileNotFoundError:
        return 0
    try:
        return copy_tree(source, target, uid_base)
    finally:
        os.close(source)


def copy_tree(source: int, target: Path, uid_base: int | None) -> int:
    """The same from a descriptor of a directory."""
    copy = _Copy(source, os.open(target, _DIRECTORY), uid_base or 0)
    try:
        while copy.pending:
            _copy_directory(copy, copy.pending.pop())
        for path, status in reversed(copy.times):
            directory = _open_directory(copy.target, path)
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.close(directory)
    finally:
        os.close(copy.target)
    return copy.size


def _copy_directory(copy: _Copy, path: str) -> None:
    """Copy one directory's own attributes and entries; those that are directories are made and left pending."""
    try:
        source = _open_directory(copy.source, path)
    except (FileNotFoundError, NotADirectoryError):
        return  # of a running container: gone meanwhile
    target = _open_directory(copy.target, path)
    try:
        status = os.fstat(source)
        _dress(copy, source, target, status)
        if whiteouts.overlay_attribute(source, "opaque") == b"y":
            whiteouts.make_opaque(target)
        if whiteouts.overlay_attribute(source, "redirect") is not None:
            raise UserError(f"cannot commit: /{path} was renamed in a way that only its own overlay understands")
        copy.times.append((path, status))
        for name in os.listdir(source):
            try:
                _copy_entry(copy, name, source, target, f"{path}/{name}" if path else name)
            except FileNotFoundError:
                continue
    finally:
        os.close(source)
        os.close(target)


def _copy_entry(copy: _Copy, name: str, source: int, target: int, path: str) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    if whiteouts.is_whiteout(status):
        whiteouts.make_whiteout(name, target)
    elif stat.S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        copy.pending.append(path)
    elif stat.S_ISREG(status.st_mode):
        if status.st_size or path not in PLACEHOLDERS:
            _copy_file(copy, name, source, target, path)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        _own(copy, name, target, status)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(name, 0o600, dir_fd=target)
        _own(copy, name, target, status)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_file(copy: _Copy, name: str, source: int, target: int, path: str) -> None:
    old = os.open(name, _FILE, dir_fd=source)
    try:
        status = os.fstat(old)
        if not stat.S_ISREG(status.st_mode):
            return
        if whiteouts.overlay_attribute(old, "metacopy") is not None:
            raise UserError(f"cannot commit: /{path} has its data in another layer")
        inode = (status.st_dev, status.st_ino)
        if (first := copy.links.get(inode)) is not None:
            os.link(first, name, src_dir_fd=copy.target, dst_dir_fd=target, follow_symlinks=False)
            return
        new = os.open(name, _NEW, 0o600, dir_fd=target)
        try:
            _copy_data(old, new, status.st_size)
            _dress(copy, old, new, status)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(new)
        copy.size += status.st_size
        if status.st_nlink > 1:
            copy.links[inode] = path
    finally:
        os.close(old)


def _copy_data(old: int, new: int, size: int) -> None:
    """Only what is not a hole; blocks are shared where the file system can."""
    os.ftruncate(new, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(old, position, os.SEEK_DATA)
            end = min(os.lseek(old, position, os.SEEK_HOLE), size)
        except OSError as e:
            if e.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        while position < end:
            copied = _copy_piece(old, new, min(end - position, _PIECE), position)
            if not copied:  # it was cut meanwhile
                return
            position += copied


def _copy_piece(old: int, new: int, size: int, position: int) -> int:
    try:
        return os.copy_file_range(old, new, size, position, position)
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.EINVAL):  # two file systems, of which one may be an overlay
            raise
    data = os.pread(old, size, position)
    return os.pwrite(new, data, position) if data else 0


def _dress(copy: _Copy, source: int, target: int, status: os.stat_result) -> None:
    """Owner before mode and attributes: changing the owner takes setuid and capabilities away."""
    os.fchown(target, _shifted(status.st_uid, copy.uid_base), _shifted(status.st_gid, copy.uid_base))
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if name.startswith(whiteouts.PREFIXES):
            continue
        try:
            value = os.getxattr(source, name)
        except OSError as e:
            if e.errno == errno.ENODATA:
                continue
            raise
        if name == "security.capability":
            value = shift_capability(value)
        elif name.startswith("system.posix_acl_"):
            value = shift_acl(value, copy.uid_base)
        elif not name.startswith("user."):
            continue
        os.setxattr(target, name, value)


def _own(copy: _Copy, name: str, target: int, status: os.stat_result) -> None:
    owner = _shifted(status.st_uid, copy.uid_base), _shifted(status.st_gid, copy.uid_base)
    os.chown(name, *owner, dir_fd=target, follow_symlinks=False)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _shifted(host_id: int, uid_base: int) -> int:
    """The id as the container sees it.  `uid_base` 0: it has no user namespace, and sees the host's."""
    if not uid_base:
        return host_id
    return host_id - uid_base if uid_base <= host_id < uid_base + ID_RANGE else NOBODY


def shift_capability(value: bytes) -> bytes:
    """File capabilities without the root user they were made for (linux/capability.h, vfs_ns_cap_data → vfs_cap_data).

    In a layer they are for the root of whoever mounts it.
    """
    revision_mask, revision_2, revision_3 = 0xFF000000, 0x02000000, 0x03000000
    (magic,) = struct.unpack_from("<I", value)
    if magic & revision_mask != revision_3:
        return value
    return struct.pack("<I", revision_2 | (magic & ~revision_mask)) + value[4:20]


def shift_acl(value: bytes, uid_base: int) -> bytes:
    """The ids in a POSIX ACL (linux/posix_acl_xattr.h: a version, then tag, permissions, id each)."""
    acl_user, acl_group = 0x02, 0x08
    shifted = value[:4]
    for tag, permissions, number in struct.iter_unpack("<HHI", value[4:]):
        number = _shifted(number, uid_base) if tag in (acl_user, acl_group) else number
        shifted += struct.pack("<HHI", tag, permissions, number)
    return shifted


def _open_directory(root: int, path: str) -> int:
    return rooted.open_path(root, path or ".", _DIRECTORY, RESOLVE_NO_SYMLINKS)
