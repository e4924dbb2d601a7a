"""Local files as a tar stream."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator

_PIECE = 1 << 18
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


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
    with open(os.open(path, _READ), "rb") as file:  # it was a regular file: what took its place is not read
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                piece = bytes(min(left, _PIECE))
            left -= len(piece)
            yield piece
    if remainder := size % tarfile.BLOCKSIZE:
        yield bytes(tarfile.BLOCKSIZE - remainder)
