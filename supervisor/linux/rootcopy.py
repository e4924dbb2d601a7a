"""Files into and out of a container's root, as tar, past whatever its symlinks say.  Blocking: for a thread.

Every name is resolved by the kernel inside the root (openat2), from a descriptor, at the moment of its use: a container
that swaps a directory for a symlink meanwhile moves only itself (CVE-2018-15664, CVE-2019-14271).  No program of the
container is run and nothing of it is loaded.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.model import ID_RANGE
from hawse.supervisor.linux import rooted
from hawse.supervisor.linux.fsids import files_owned_by
from hawse.supervisor.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
DEEPEST = 256
"""Levels of directories that are packed: each costs a descriptor, and a container can make as many as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """`fd` is a descriptor of the root directory; `uid_base` the host id of its user 0, None when it is the host's.

    `lower_ids`: ids below the range are the container's already (layers seen without their id map).
    """

    fd: int
    uid_base: int | None
    lower_ids: bool = False

    def inside(self, host_id: int) -> int:
        """An id as the container sees it."""
        base = self.uid_base
        if base is None:
            return host_id
        if base <= host_id < base + ID_RANGE:
            return host_id - base
        return host_id if self.lower_ids and host_id < ID_RANGE else 65_534

    def outside(self, own_id: int) -> int:
        return own_id if self.uid_base is None else self.uid_base + min(max(own_id, 0), ID_RANGE - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStat:
    """What `cp` asks first.  `mode` as stat(2) has it."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""


def stat_path(root: Root, path: str) -> PathStat:
    """The object itself when it is a symlink.  Raises NotFound."""
    with _place(root, path) as (parent, name):
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(found.st_mode) else ""
    return PathStat(
        name=_base(path), size=found.st_size, mode=found.st_mode, mtime_ns=found.st_mtime_ns, link_target=target
    )


def pack(root: Root, path: str, out: IO[bytes], *, cross_mounts: bool = True) -> None:
    """Write `path` with all that is below it as a tar.  Mount points are followed, or left as empty places.

    Raises NotFound for the path; what vanishes meanwhile is left out.
    """
    with (
        _place(root, path) as (parent, name),
        tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as tar,
    ):
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        packing = _Packing(root, tar, 0 if cross_mounts else RESOLVE_NO_XDEV)
        if name == "." and _base(path) == "/":
            for entry in sorted(os.listdir(here := os.open(".", _DIRECTORY, dir_fd=parent))):
                packing.add(here, entry, entry)
            os.close(here)
        else:
            packing.add(parent, name, _base(path))


@dataclass(slots=True)
class _Packing:
    root: Root
    tar: tarfile.TarFile
    resolve: int
    links: dict[tuple[int, int], str] = field(default_factory=dict)

    def add(self, parent: int, name: str, arcname: str) -> None:
        """Add one entry, and what is below it: a stack of open directories, as deep as the tree."""
        waiting = [(parent, name, arcname)]
        opened: list[tuple[int, int]] = []  # (descriptor, how long the stack is when it is done with)
        try:
            while waiting:
                while opened and len(waiting) <= opened[-1][1]:
                    os.close(opened.pop()[0])
                here, entry, full = waiting.pop()
                depth = len(waiting)
                try:
                    below = self._entry(here, entry, full)
                    if below is not None:
                        opened.append((below, depth))
                        if len(opened) > DEEPEST:
                            raise UserError(f"{full[:200]}... is more than {DEEPEST} directories deep")
                        waiting += [(below, e, f"{full}/{e}") for e in sorted(os.listdir(below), reverse=True)]
                except (FileNotFoundError, NotADirectoryError):
                    continue
        finally:
            for fd, _ in opened:
                os.close(fd)

    def _entry(self, parent: int, name: str, arcname: str) -> int | None:
        """Write one; a descriptor when it is a directory to go into."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        info = self._info(found, arcname)
        if stat.S_ISDIR(found.st_mode):
            info.type = tarfile.DIRTYPE
            self._add(info)
            try:
                return self._open(parent, name, _DIRECTORY | os.O_NOFOLLOW)
            except OSError as e:
                if e.errno == errno.EXDEV:
                    return None
                raise
        if stat.S_ISREG(found.st_mode):
            self._file(parent, name, arcname)
            return None
        if stat.S_ISLNK(found.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=parent)
        elif stat.S_ISFIFO(found.st_mode):
            info.type = tarfile.FIFOTYPE
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            info.type = tarfile.CHRTYPE if stat.S_ISCHR(found.st_mode) else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
        else:
            return None  # a socket means nothing elsewhere
        self._add(info)
        return None

    def _file(self, parent: int, name: str, arcname: str) -> None:
        try:
            fd = self._open(parent, name, _FILE)
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
            # something is mounted over it: the file that is below is empty, it was made to be covered
            self._add(self._info(os.stat(name, dir_fd=parent, follow_symlinks=False), arcname))
            return
        with os.fdopen(fd, "rb", buffering=0) as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return  # it has been changed for something else
            info = self._info(found, arcname)
            if found.st_nlink > 1:
                first = self.links.setdefault((found.st_dev, found.st_ino), arcname)
                if first != arcname:
                    info.type, info.linkname = tarfile.LNKTYPE, first
                    self._add(info)
                    return
            info.size = found.st_size
            self._add(info, _Padded(file, found.st_size))

    def _add(self, info: tarfile.TarInfo, data: _Padded | None = None) -> None:
        self.tar.addfile(info, data)  # type: ignore[arg-type]
        self.tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all, a kilobyte for every file

    def _open(self, parent: int, name: str, flags: int) -> int:
        return openat2(parent, name, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | self.resolve)

    def _info(self, found: os.stat_result, arcname: str) -> tarfile.TarInfo:
        info = tarfile.TarInfo(arcname)
        info.mode = stat.S_IMODE(found.st_mode)
        info.uid, info.gid = self.root.inside(found.st_uid), self.root.inside(found.st_gid)
        info.mtime = int(found.st_mtime)
        return info


class _Padded:
    """A file of exactly the length that its header said, whatever happens to it while it is read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        data = b""
        while len(data) < wanted and (more := self._file.read(wanted - len(data))):
            data += more
        self._left -= wanted
        return data + bytes(wanted - len(data))


def unpack(root: Root, path: str, tar: tarfile.TarFile, *, keep_kind: bool = False) -> None:
    """Put the archive's entries below the directory `path`.

    `keep_kind`: a directory is not replaced by a file, nor the other way round.  Raises NotFound, UserError, Conflict.
    """
    try:
        target = rooted.open_path(root.fd, path or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as e:
        raise NotFound(f"Could not find the file {path}") from e
    except NotADirectoryError as e:
        raise UserError("extraction point is not a directory", hint=path) from e
    os.close(target)
    times: list[tuple[str, float]] = []
    with files_owned_by(root.uid_base):
        for member in tar:
            name = posixpath.normpath(member.name.lstrip("/"))
            if name == ".." or name.startswith("../"):
                raise UserError(f"invalid path in the archive: {member.name!r}", hint="it leads outside")
            full = posixpath.join("/", path, name)
            _member(root, full, path, tar, member, keep_kind)
            if member.isdir():
                times.append((full, member.mtime))
        for full, mtime in reversed(times):
            with _place(root, full) as (parent, entry):
                os.utime(entry, (mtime, mtime), dir_fd=parent, follow_symlinks=False)


def _member(root: Root, full: str, top: str, tar: tarfile.TarFile, member: tarfile.TarInfo, keep_kind: bool) -> None:
    directory, _, name = full.rstrip("/").rpartition("/")
    if not name or full.rstrip("/") == top.rstrip("/"):  # the directory that it is unpacked into
        return
    parent = rooted.ensure(root.fd, directory or "/", directory=True)
    try:
        _clear(parent, name, member, keep_kind, full)
        if member.isdir():
            _directory(root, parent, name, member)
        elif member.isreg():
            _file(root, parent, name, member, tar.extractfile(member))
        elif member.islnk():
            _link(root, posixpath.join("/", top, member.linkname.lstrip("/")), parent, name)
        elif member.issym() or member.isfifo():
            if member.issym():
                os.symlink(member.linkname, name, dir_fd=parent)
            else:
                os.mkfifo(name, stat.S_IMODE(member.mode), dir_fd=parent)
            owner = root.outside(member.uid), root.outside(member.gid)
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
            os.utime(name, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
        # device nodes are left out: they would be dead, every mount of ours is nodev
    finally:
        os.close(parent)


def _clear(parent: int, name: str, member: tarfile.TarInfo, keep_kind: bool, full: str) -> None:
    """Make room for an entry.  A directory for a directory stays; one that is in the way goes only if it is empty."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    is_directory = stat.S_ISDIR(found.st_mode)
    if is_directory and member.isdir():
        return
    if keep_kind and is_directory != member.isdir():
        old, new = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        raise UserError(f'cannot overwrite {old} "{full}" with {new}')
    try:
        if is_directory:
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except OSError as e:
        if e.errno in (errno.ENOTEMPTY, errno.EBUSY):
            raise Conflict(f"cannot overwrite {full}: {os.strerror(e.errno)}") from e
        raise


def _directory(root: Root, parent: int, name: str, member: tarfile.TarInfo) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        _dress(root, fd, member)
    finally:
        os.close(fd)


def _file(root: Root, parent: int, name: str, member: tarfile.TarInfo, data: IO[bytes] | None) -> None:
    assert data is not None
    with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=parent), "wb", buffering=0) as file:
        while piece := data.read(_PIECE):
            left = memoryview(piece)
            while left:
                left = left[file.write(left) :]
        _dress(root, file.fileno(), member)
        os.utime(file.fileno(), (member.mtime, member.mtime))


def _dress(root: Root, fd: int, member: tarfile.TarInfo) -> None:
    """By descriptor: a name could have become a symlink to the host since.  Owner first, it takes setuid away."""
    os.fchown(fd, root.outside(member.uid), root.outside(member.gid))
    os.fchmod(fd, stat.S_IMODE(member.mode))


def _link(root: Root, first: str, parent: int, name: str) -> None:
    with _place(root, first) as (directory, entry):
        os.link(entry, name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)


@contextmanager
def _place(root: Root, path: str) -> Iterator[tuple[int, str]]:
    """The directory that holds `path`, and its name there; with a "/" or "/." behind it, what it leads to.

    Raises NotFound, also from within the block.
    """
    clean = posixpath.normpath(f"/{path}").lstrip("/")
    through = path.endswith(("/", "/.")) or not clean
    directory, name = (clean, ".") if through else (posixpath.dirname(clean), posixpath.basename(clean))
    try:
        parent = rooted.open_path(root.fd, f"/{directory}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield parent, name
        finally:
            os.close(parent)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise NotFound(f"Could not find the file {path}") from e


def _base(path: str) -> str:
    """The name that an archive of the path begins with: "." for "/etc/.", as Docker's."""
    if path.endswith("/.") or path == ".":
        return "."
    return posixpath.basename(posixpath.normpath(f"/{path}").rstrip("/")) or "/"
