"""Local files as a tar stream, and a tar stream as local files.

The stream comes out of a container, whose owner may be hostile: nothing in it may write outside the destination.  Symbolic
links are made last, so that no entry can be led through one that the stream itself brought.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator

from hawse.cli.errors import Failure

_PIECE = 1 << 18


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


def pack(source: str, name: str, *, keep_owner: bool, follow: bool) -> Iterator[bytes]:
    """`source` and what is below it, with `name` instead of its own.  `follow`: a link at the top is followed."""
    catalog = tarfile.TarFile(fileobj=io.BytesIO(), mode="w")  # knows inodes, for hard links
    top = os.path.realpath(source) if follow else source
    for path, inside in _walk(top, name):
        info = catalog.gettarinfo(path, inside)
        if info is None:  # a socket
            continue
        info.uname = info.gname = ""
        if not keep_owner:
            info.uid = info.gid = 0
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isreg() and info.size:
            yield from _content(path, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _walk(top: str, name: str) -> Iterator[tuple[str, str]]:
    yield top, name
    if os.path.isdir(top) and not os.path.islink(top):
        for entry in sorted(os.listdir(top)):
            yield from _walk(os.path.join(top, entry), f"{name}/{entry}")


def _content(path: str, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes and the padding: a file that grows or shrinks meanwhile must not shift what follows."""
    left = size
    with open(path, "rb") as file:
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                piece = bytes(min(left, _PIECE))
            left -= len(piece)
            yield piece
    if remainder := size % tarfile.BLOCKSIZE:
        yield bytes(tarfile.BLOCKSIZE - remainder)


def unpack(pieces: Iterable[bytes], directory: str, name: str | None, *, rooted: bool, keep_owner: bool) -> int:
    """Write the stream below `directory`; the bytes of file content.

    The first component of every entry is replaced by `name`, or dropped when `name` is None (the content goes directly into
    the directory).  Not `rooted`: entries have no such first component.  Raises Failure.
    """
    total = 0
    links: list[tuple[str, tarfile.TarInfo]] = []
    directories: list[tuple[str, tarfile.TarInfo]] = []
    try:
        with tarfile.open(fileobj=PieceReader(pieces), mode="r|", errorlevel=2) as archive:
            for member in archive:
                target = _target(directory, member.name, name, rooted)
                if member.issym():
                    links.append((target, member))
                    continue
                if member.isdir():
                    _make_directory(target)
                    if target != directory:  # the destination itself stays as the user has it
                        directories.append((target, member))
                    continue
                os.makedirs(os.path.dirname(target), exist_ok=True)
                _clear(target)
                if member.islnk():
                    os.link(_target(directory, member.linkname, name, rooted), target, follow_symlinks=False)
                elif member.isreg():
                    total += _write(archive, member, target)
                else:
                    _make_special(member, target)
                    continue
                _dress(target, member, keep_owner)
    except tarfile.TarError as e:
        raise Failure(f"what the daemon sent is not a tar archive: {e}") from None
    for target, member in links:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _clear(target)
        os.symlink(member.linkname, target)
        if keep_owner:
            os.lchown(target, member.uid, member.gid)
    for target, member in reversed(directories):  # last: writing into them changes their times
        _dress(target, member, keep_owner)
    return total


def _target(directory: str, entry: str, name: str | None, rooted: bool) -> str:
    parts = [part for part in entry.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failure(f"refusing an entry that leads outside: {entry!r}")
    if rooted:
        parts = ([] if name is None else [name]) + parts[1:]
    return os.path.join(directory, *parts)


def _make_directory(target: str) -> None:
    if os.path.lexists(target) and not os.path.isdir(target):
        _clear(target)
    os.makedirs(target, exist_ok=True)


def _clear(target: str) -> None:
    """What is in the way, except a directory: that is never replaced by something else."""
    try:
        if stat.S_ISDIR(os.lstat(target).st_mode):
            raise Failure(f"cannot overwrite the directory {target!r} with something that is none")
        os.unlink(target)
    except FileNotFoundError:
        pass


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> int:
    content = archive.extractfile(member)
    assert content is not None
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        while piece := content.read(_PIECE):
            file.write(piece)
    return member.size


def _make_special(member: tarfile.TarInfo, target: str) -> None:
    if member.isfifo():
        os.mkfifo(target, member.mode & 0o777)
        return
    kind = stat.S_IFBLK if member.isblk() else stat.S_IFCHR
    os.mknod(target, kind | (member.mode & 0o777), os.makedev(member.devmajor, member.devminor))


def _dress(target: str, member: tarfile.TarInfo, keep_owner: bool) -> None:
    """Owner, mode and time of a file or directory that we made."""
    if keep_owner:
        os.chown(target, member.uid, member.gid, follow_symlinks=False)
    os.chmod(target, member.mode & (0o7777 if keep_owner else 0o777))
    os.utime(target, (member.mtime, member.mtime), follow_symlinks=False)
