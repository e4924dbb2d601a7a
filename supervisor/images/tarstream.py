"""tarfile without its appetite: it reads whatever a header says is a name, an attribute or a map of holes, and keeps it all.

The largest that Go's archive/tar, docker's reader, takes for one such thing is 1 MiB; that is the limit here for all that
describes one entry.  Nothing is kept of entries that have been gone through.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from hawse.supervisor.core.errors import UserError

LARGEST_HEADER = 1 << 20
"""Bytes that describe one entry: long names, extended headers, maps of sparse files, the headers of all these."""
MOST_GLOBALS = 64
"""Extended headers that hold for all entries: every entry is given a copy of them."""

_PIECE = 256 * 1024


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Archive(tarfile.TarFile):
    """Goes forward only.  Besides tarfile's errors, raises UserError for an entry whose description is too long."""

    def __init__(self, source: Readable) -> None:
        super().__init__(fileobj=_Forward(source))  # type: ignore[arg-type]

    def next(self) -> tarfile.TarInfo | None:
        assert isinstance(self.fileobj, _Forward)
        with self.fileobj.header():
            member = super().next()
        self.members.clear()  # type: ignore[attr-defined]  # has no other way before Python 3.13
        told = self.pax_headers
        if len(told) > MOST_GLOBALS or sum(len(key) + len(value) for key, value in told.items()) > LARGEST_HEADER:
            raise _too_long()
        return member


class _Forward:
    """What tarfile asks of a file, of a stream."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._position = 0
        self._in_header = False
        self._taken = 0

    @contextmanager
    def header(self) -> Iterator[None]:
        """Reading is limited within the block; skipping, to the next header, is not."""
        self._in_header, self._taken = True, 0
        try:
            yield
        finally:
            self._in_header = False

    def seekable(self) -> bool:
        return True  # forward

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """Less than `size` only at the end."""
        if self._in_header:
            self._taken += size
            if self._taken > LARGEST_HEADER:
                raise _too_long()
        data = self._source.read(size)
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Raises tarfile.StreamError for a way back."""
        if position < self._position:
            raise tarfile.StreamError("an entry begins before the one that it follows")
        while self._position < position:
            data = self._source.read(min(_PIECE, position - self._position))
            if not data:
                return
            self._position += len(data)


def _too_long() -> UserError:
    return UserError(
        f"Error processing tar file: an entry is described by more than {LARGEST_HEADER >> 10} KiB",
        hint="names, attributes and maps of holes have to fit into that",
    )
