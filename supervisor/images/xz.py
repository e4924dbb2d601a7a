"""Reading an xz archive with a limit on its memory, which `lzma.LZMAFile` has not: the archive chooses it, up to 4 GiB."""

from __future__ import annotations

import lzma

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.tarstream import Readable

MEMORY = 128 << 20
"""Bytes for unpacking; `xz -9` makes archives that need 65 MiB (xz(1))."""

_PIECE = 256 * 1024


class XzReader:
    """Streams one after the other, with padding between, are one archive, as for xz(1)."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._decoder = _decoder()
        self._given = b""  # read, and not yet seen by the decoder
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """At least one byte, but at the end.  Raises lzma.LZMAError, EOFError, UserError."""
        while not self._ended:
            if self._decoder.eof:
                self._begin_next()
                continue
            if self._decoder.needs_input and not self._given:
                self._given = self._source.read(_PIECE)
                if not self._given:
                    raise EOFError("the xz stream is cut off")
            given, self._given = self._given, b""
            if data := self._decompress(given, size):
                return data
        return b""

    def _begin_next(self) -> None:
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest and (piece := self._source.read(_PIECE)):
            rest = piece.lstrip(b"\0")
        self._given, self._ended = rest, not rest
        self._decoder = _decoder()

    def _decompress(self, given: bytes, size: int) -> bytes:
        try:
            return self._decoder.decompress(given, size)
        except lzma.LZMAError as e:
            if "limit" not in str(e):
                raise
            raise UserError(
                f"Error processing tar file: it needs more than {MEMORY >> 20} MiB of memory to be unpacked",
                hint="compress it with a smaller dictionary: xz -9 or less",
            ) from e


def _decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
