"""A tar stream as local files below a directory.

The stream comes out of a container, whose owner may be hostile, and so may be what an earlier copy left in the directory:
nothing may be written outside of it.  Every component of every name is opened by itself, from the descriptor of the
directory above, and a link is never gone through: one that is in the way is removed.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hawse.cli.errors import Failure
from hawse.cli.files.destination import HOLD, NEW

_PIECE = 1 << 18
_INTO = HOLD | os.O_NOFOLLOW
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE)

Parts = tuple[str, ...]


class PieceReader(io.RawIOBase):
    """The pieces of an answer as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


def unpack(pieces: Iterable[bytes], top: int, name: str | None, *, rooted: bool, keep_owner: bool) -> int:
    """Write the stream below the open directory `top`; the bytes of file content.

    The first component of every entry is replaced by `name`, or dropped when `name` is None (the content goes directly into
    the directory).  Not `rooted`: entries have no such first component, and `name` goes before all of them.  Raises Failure.
    """
    total = 0
    directories: list[tuple[Parts, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=PieceReader(pieces), mode="r|", errorlevel=2) as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all, a kilobyte for every file
                parts = _parts(member.name, name, rooted)
                if not parts and not member.isdir():
                    raise Failure(f"refusing an entry without a name: {member.name!r}")
                if not parts:  # the destination itself stays as the user has it
                    continue
                with _told(parts), _parent(top, parts) as parent:
                    if member.isdir():
                        os.close(_directory(parent, parts, 0o700))
                        directories.append((parts, member))
                    elif member.islnk():
                        _clear(parent, parts, member)
                        _link(top, _parts(member.linkname, name, rooted), parent, parts)
                    else:
                        _clear(parent, parts, member)
                        total += _make(archive, member, parent, parts[-1], keep_owner)
    except tarfile.TarError as e:
        raise Failure(f"what the daemon sent is not a tar archive: {e}") from None
    for parts, member in reversed(directories):  # last: writing into them changes their times
        with _told(parts), _parent(top, parts) as parent:
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                _dress(descriptor, member, keep_owner)
            finally:
                os.close(descriptor)
    return total


def _parts(entry: str, name: str | None, rooted: bool) -> Parts:
    parts = tuple(part for part in entry.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Failure(f"refusing an entry that leads outside: {entry!r}")
    return (() if name is None else (name,)) + (parts[1:] if rooted else parts)


@contextmanager
def _told(parts: Parts) -> Iterator[None]:
    """An error of the kernel names one component; the user is told the whole path below the destination."""
    try:
        yield
    except OSError as e:
        raise Failure(f"cannot write {'/'.join(parts)}: {(e.strerror or str(e)).lower()}") from None


@contextmanager
def _parent(top: int, parts: Parts) -> Iterator[int]:
    """The directory that the entry is in; directories on the way that are missing are made."""
    here = os.dup(top)
    try:
        for depth in range(1, len(parts)):
            above, here = here, _directory(here, parts[:depth], 0o777)
            os.close(above)
        yield here
    finally:
        os.close(here)


def _directory(parent: int, parts: Parts, mode: int) -> int:
    """A descriptor of the directory; it is made when it is missing, and in the place of a link."""
    name = parts[-1]
    try:
        return os.open(name, _INTO, dir_fd=parent)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Failure(f'cannot overwrite non-directory "{"/".join(parts)}" with directory') from None
        os.unlink(name, dir_fd=parent)
    os.mkdir(name, mode, dir_fd=parent)
    return os.open(name, _INTO, dir_fd=parent)


def _clear(parent: int, parts: Parts, member: tarfile.TarInfo) -> None:
    """Remove what is in the way: files and links, as Docker does, but no directory, and no device for what is none."""
    try:
        found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found):
        raise Failure(f'cannot overwrite directory "{"/".join(parts)}" with non-directory')
    if (stat.S_ISCHR(found) or stat.S_ISBLK(found)) and member.type not in _DEVICES:
        raise Failure(f'cannot overwrite device "{"/".join(parts)}" with non-device')
    os.unlink(parts[-1], dir_fd=parent)


def _link(top: int, first: Parts, parent: int, parts: Parts) -> None:
    """A hard link.  Owner, mode and times are the first name's already."""
    here = os.dup(top)
    try:
        for part in first[:-1]:
            above, here = here, os.open(part, _INTO, dir_fd=here)
            os.close(above)
        os.link(first[-1], parts[-1], src_dir_fd=here, dst_dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, IndexError):
        raise Failure(f'cannot link "{"/".join(parts)}" to "{"/".join(first)}": not in the archive') from None
    finally:
        os.close(here)


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, keep_owner: bool) -> int:
    """Anything else; the bytes of content."""
    if member.issym():
        os.symlink(member.linkname, name, dir_fd=parent)
        if keep_owner:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        return 0
    if member.isfifo():
        os.mkfifo(name, member.mode & 0o777, dir_fd=parent)
        return 0
    if member.type in _DEVICES:
        kind = stat.S_IFBLK if member.isblk() else stat.S_IFCHR
        device = os.makedev(member.devmajor, member.devminor)
        os.mknod(name, kind | (member.mode & 0o777), device, dir_fd=parent)
        return 0
    content = archive.extractfile(member)
    if content is None:
        raise Failure(f"refusing an entry of an unknown kind: {member.name!r}")
    with open(os.open(name, NEW, 0o600, dir_fd=parent), "wb") as file:
        while piece := content.read(_PIECE):
            file.write(piece)
        file.flush()
        _dress(file.fileno(), member, keep_owner)
    return member.size


def _dress(descriptor: int, member: tarfile.TarInfo, keep_owner: bool) -> None:
    """Owner, mode and time; by descriptor, as a name could be a link by now.  The owner first: it takes setuid away."""
    if keep_owner:
        os.fchown(descriptor, member.uid, member.gid)
    os.fchmod(descriptor, member.mode & (0o7777 if keep_owner else 0o777))
    os.utime(descriptor, (member.mtime, member.mtime))
