"""A tar becomes a layer's directory.  The archive is hostile until shown otherwise.

Nothing is ever written by path: every parent is resolved by the kernel inside the new root (openat2, RESOLVE_IN_ROOT), so a
symlink that leads out leads back in, and a name with too many ".." is refused.  Owners, modes, times, hard links, FIFOs,
holes and extended attributes are kept; device nodes are left out (no container could open them, its root is mounted nodev).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import cast

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images import whiteouts
from hawse.supervisor.linux import rooted
from hawse.supervisor.linux.tree import remove_tree

_PIECE = 256 * 1024
_ZEROS = bytes(_PIECE)
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")
_NOBODY_ID = (1 << 32) - 1
_ODD = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EISDIR,
    errno.EPERM,
    errno.EFBIG,
)
"""What the kernel says of names, links, sizes and attributes that make no sense, as opposed to a disk that is full."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def extract(archive: tarfile.TarFile, destination: Path) -> int:
    """Unpack everything into the empty directory `destination`; the bytes of its files.  Blocking.

    Raises UserError for what no honest archive holds, OSError.
    """
    root = os.open(destination, _DIRECTORY)
    try:
        extraction = _Extraction(archive, root)
        try:
            for member in archive:
                _check(member)
                try:
                    extraction.add(member)
                except OSError as e:
                    if e.errno not in _ODD:
                        raise
                    raise _refuse(member.name, f"cannot be made: {os.strerror(e.errno)}") from e
            extraction.set_times()
        finally:
            extraction.close()
    finally:
        os.close(root)
    return extraction.size


class _Extraction:
    def __init__(self, archive: tarfile.TarFile, root: int) -> None:
        self._archive, self._root = archive, root
        self.size = 0
        self._times: dict[str, int] = {}  # directories', in ns: filling one changes it
        self._parent: tuple[str | None, int] = ("", os.dup(root))

    def add(self, member: tarfile.TarInfo) -> None:
        name = _clean(member.name)
        if not name:
            if member.isdir():
                self._dress(self._root, member)
                self._times[""] = _time(member)
            return
        parent, base = posixpath.split(name)
        directory = self._open_parent(parent)
        if base.startswith(whiteouts.TAR_PREFIX):
            self._add_whiteout(base, directory)
        elif member.isdir():
            self._add_directory(member, base, directory)
            self._times[name] = _time(member)
        elif member.isreg():
            self._add_file(member, base, directory)
        elif member.issym():
            self._clear(base, directory)
            os.symlink(member.linkname, base, dir_fd=directory)
            os.chown(base, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            _set_time(base, directory, member)
        elif member.islnk():
            self._add_hard_link(member, base, directory)
        elif member.isfifo():
            self._clear(base, directory)
            os.mkfifo(base, 0o600, dir_fd=directory)
            os.chown(base, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            os.chmod(base, _mode(member), dir_fd=directory)
            _set_time(base, directory, member)

    def set_times(self) -> None:
        """At the end, and the deepest first, so that setting one does not change another."""
        for name in sorted(self._times, reverse=True):
            try:
                directory = rooted.open_path(self._root, name or ".", os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                continue  # something else took its place
            try:
                os.utime(directory, ns=(self._times[name], self._times[name]))
            finally:
                os.close(directory)

    def close(self) -> None:
        os.close(self._parent[1])

    def _open_parent(self, path: str) -> int:
        """A descriptor of the directory, made if the archive forgot it.  Neighbours mostly have the same one."""
        if self._parent[0] != path:
            found = rooted.ensure(self._root, path, directory=True) if path else os.dup(self._root)
            try:
                directory = os.open(".", _DIRECTORY, dir_fd=found)
            finally:
                os.close(found)
            os.close(self._parent[1])
            self._parent = (path, directory)
        return self._parent[1]

    def _clear(self, base: str, directory: int) -> None:
        """Room for a new entry: a later one replaces an earlier one of the same name."""
        try:
            status = os.stat(base, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            remove_tree(Path(f"/proc/self/fd/{directory}/{base}"))
        else:
            os.unlink(base, dir_fd=directory)
        self._parent = (None, self._parent[1])  # it may have led through there

    def _add_directory(self, member: tarfile.TarInfo, base: str, directory: int) -> None:
        hidden = False
        try:
            os.mkdir(base, 0o700, dir_fd=directory)
        except FileExistsError:
            status = os.stat(base, dir_fd=directory, follow_symlinks=False)
            hidden = whiteouts.is_whiteout(status)
            if not stat.S_ISDIR(status.st_mode):
                self._clear(base, directory)
                os.mkdir(base, 0o700, dir_fd=directory)
        made = os.open(base, _DIRECTORY, dir_fd=directory)
        try:
            self._dress(made, member)
            if hidden:
                whiteouts.make_opaque(made)
        finally:
            os.close(made)

    def _add_file(self, member: tarfile.TarInfo, base: str, directory: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            made = os.open(base, flags, 0o600, dir_fd=directory)
        except FileExistsError:
            self._clear(base, directory)
            made = os.open(base, flags, 0o600, dir_fd=directory)
        try:
            self.size += self._fill(made, member)
            self._dress(made, member)
            os.utime(made, ns=(_time(member), _time(member)))
        finally:
            os.close(made)

    def _fill(self, made: int, member: tarfile.TarInfo) -> int:
        """Write what it holds, return how much that is.

        Holes, which a small archive may describe in any size, are neither written nor counted.  Long runs of zeros are counted.
        """
        source = self._archive.extractfile(member)
        assert source is not None, "a regular file"
        os.ftruncate(made, member.size)
        filled = 0
        parts = cast("list[tuple[int, int]] | None", member.sparse)  # offset and length; typeshed says bytes
        for offset, length in [(0, member.size)] if parts is None else parts:
            source.seek(offset)
            end = offset + length
            while offset < end and (piece := source.read(min(_PIECE, end - offset))):
                if piece != _ZEROS[: len(piece)]:
                    _write(made, piece, offset)
                offset, filled = offset + len(piece), filled + len(piece)
        return filled

    def _add_hard_link(self, member: tarfile.TarInfo, base: str, directory: int) -> None:
        goal_parent, goal = posixpath.split(_clean(member.linkname))
        try:
            source = rooted.open_path(self._root, goal_parent or ".", os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as e:
            raise _refuse(member.name, f"is a hard link to {member.linkname!r}, which is not there") from e
        try:
            self._clear(base, directory)
            os.link(goal, base, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError as e:
            raise _refuse(member.name, f"is a hard link to {member.linkname!r}, which is not there") from e
        finally:
            os.close(source)

    def _add_whiteout(self, base: str, directory: int) -> None:
        if base == whiteouts.TAR_OPAQUE:
            whiteouts.make_opaque(directory)
        elif not base.startswith(whiteouts.TAR_RESERVED):  # the rest of those is an older file system's bookkeeping
            hidden = base.removeprefix(whiteouts.TAR_PREFIX)
            if hidden in ("", ".", ".."):
                raise _refuse(base, "hides nothing that could be")
            self._hide(hidden, directory)

    def _hide(self, name: str, directory: int) -> None:
        """A whiteout hides what the layers below have; what its own layer has of that name stays (layer.md)."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            whiteouts.make_whiteout(name, directory)
            return
        if stat.S_ISDIR(status.st_mode):
            own = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                whiteouts.make_opaque(own)
            finally:
                os.close(own)

    def _dress(self, file: int, member: tarfile.TarInfo) -> None:
        """Owner before mode and attributes: changing the owner takes setuid and capabilities away."""
        os.fchown(file, member.uid, member.gid)
        os.fchmod(file, _mode(member))
        for key, value in member.pax_headers.items():
            name = key.removeprefix(_XATTR)
            if name != key and name.startswith(_KEPT_XATTRS) and not name.startswith(whiteouts.PREFIXES):
                os.setxattr(file, name, value.encode("utf-8", "surrogateescape"))


def _check(member: tarfile.TarInfo) -> None:
    """Numbers that the header can hold and the file system cannot."""
    if not (0 <= member.uid < _NOBODY_ID and 0 <= member.gid < _NOBODY_ID):
        raise _refuse(member.name, f"belongs to the impossible owner {member.uid}:{member.gid}")
    if not 0 <= member.mtime < 1 << 34:
        member.mtime = 0


def _clean(name: str) -> str:
    """Relative and without detours; "" is the root.  Raises UserError for a name that leaves the root."""
    path = posixpath.normpath(name.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise _refuse(name, "points outside of it")
    return "" if path == "." else path


def _write(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _time(member: tarfile.TarInfo) -> int:
    """Return its time in ns.  A PAX header has them in decimals, of which tarfile's float keeps about 100 ns."""
    try:
        return int(Decimal(member.pax_headers["mtime"]) * 10**9) if member.mtime else 0
    except (KeyError, ArithmeticError):
        return int(member.mtime * 10**9)


def _mode(member: tarfile.TarInfo) -> int:
    return stat.S_IMODE(member.mode)


def _set_time(base: str, directory: int, member: tarfile.TarInfo) -> None:
    os.utime(base, ns=(_time(member), _time(member)), dir_fd=directory, follow_symlinks=False)


def _refuse(name: str, why: str) -> UserError:
    return UserError(f"Error processing tar file: entry {name!r} {why}")
