"""Reading a tar as it comes: decompressed by its first bytes, hashed, never seeking.

gzip, bzip2 and xz are Python's; zstd is the `zstd` program's, because Python has it only from 3.14 on.  None of them takes
much memory, whatever the archive asks for: gzip and bzip2 cannot, xz.py has a limit and so has the program (128 MiB).
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import shutil
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import IO

from hawse.supervisor.core.errors import Unavailable, UserError
from hawse.supervisor.images.tarstream import Archive, Readable
from hawse.supervisor.images.xz import XzReader

_PIECE = 256 * 1024
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_DAMAGED = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError, OverflowError),
    *(IndexError, RecursionError),  # tarfile at a map of holes that is cut off, at headers upon headers
)


class Hashing:
    """Passes on what it reads, and knows its SHA-256: of a whole tar that is the layer's DiffID (OCI image-spec)."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def finish(self) -> str:
        """Read what is left (padding, usually); hex digits."""
        while self.read(_PIECE):
            pass
        return self._hash.hexdigest()


@contextlib.contextmanager
def opened(source: BufferedReader) -> Iterator[tuple[tarfile.TarFile, Hashing]]:
    """The archive in `source`.  Whatever is wrong with its form becomes a UserError, inside the block as well."""
    try:
        with contextlib.ExitStack() as stack:
            plain = Hashing(_decompressed(source, stack))
            yield stack.enter_context(Archive(plain)), plain
    except _DAMAGED as e:
        raise UserError(f"Error processing tar file: {e}", hint="tar, also with gzip, bzip2, xz or zstd") from e


def _decompressed(source: BufferedReader, stack: contextlib.ExitStack) -> Readable:
    head = source.peek(8)
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    if kind == "gzip":
        return stack.enter_context(gzip.GzipFile(fileobj=source))
    if kind == "bzip2":
        return stack.enter_context(bz2.BZ2File(source))
    if kind == "xz":
        return XzReader(source)
    if kind == "zstd":
        return stack.enter_context(_zstd(source))
    return source


@contextlib.contextmanager
def _zstd(source: BufferedReader) -> Iterator[IO[bytes]]:
    if (program := shutil.which("zstd")) is None:
        raise Unavailable("this archive is compressed with zstd", hint="install zstd, or decompress it first")
    child = subprocess.Popen([program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    feeder = threading.Thread(target=_feed, args=(source, child.stdin), name="zstd-feeder")
    feeder.start()
    try:
        with child.stdout:
            yield child.stdout
            if not child.stdout.read(1) and child.wait() != 0:
                raise EOFError("the zstd stream is damaged or cut off")
    finally:
        child.kill()  # and so the feeder ends as well, when we leave before the end
        child.wait()
        feeder.join()


def _feed(source: BufferedReader, sink: IO[bytes]) -> None:
    try:
        with sink:
            shutil.copyfileobj(source, sink, _PIECE)
    except OSError:
        pass  # the reader has left
