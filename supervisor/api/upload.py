"""A request's body as a file, for code that reads in another thread.

What the reader has not asked for stays with the client: nothing piles up here.  A client that goes away in the middle is an
error at the reader, never a short file.
"""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from aiohttp import StreamReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER = 1 << 20


class _Body(io.RawIOBase):
    def __init__(self, content: StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._content = content
        self._loop = loop
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """In the reader's thread.  Raises ConnectionError when the client is gone."""
        target = memoryview(buffer).cast("B")
        if not self._rest:
            try:
                data = asyncio.run_coroutine_threadsafe(self._content.readany(), self._loop).result()
            except CancelledError as e:
                raise ConnectionAbortedError("the upload was given up") from e
            self._rest = memoryview(data)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def file(content: StreamReader) -> io.BufferedReader:
    """To be read in a thread other than the running loop's."""
    return io.BufferedReader(_Body(content, asyncio.get_running_loop()), BUFFER)
