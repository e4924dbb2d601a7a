"""When what was committed is on the disk: the wait before an answer tells of it, shared by all who wait.

The database's commits only reach the kernel (synchronous = NORMAL): a crash of any process loses none, a power cut may.  One
flush of the write-ahead log is what SQLite does after every commit with synchronous = FULL, and no less holds after it: a
frame that the log does not have any more was copied into the database by a checkpoint, which flushes both on its way
(https://www.sqlite.org/wal.html, "Checkpointing", and https://www.sqlite.org/pragma.html#pragma_synchronous).  SQLite keeps
the log's file, once made, as long as anybody has the database open, also when it begins anew or truncates it; and its locks
are on the other two files, so that a descriptor of our own harms none (https://www.sqlite.org/walformat.html, "Locking").
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import structlog

from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.linux.flush import flush_directory
from hawse.supervisor.linux.worker import Worker

log = structlog.get_logger()


class Barrier:
    """Made by `Barrier.open` for a database that is open, ended by `close`.

    `recover` copies the whole log into the database and raises what prevents it.
    """

    def __init__(self, wal: Path, recover: Callable[[], Awaitable[None]]) -> None:
        self._path = wal
        self._recover = recover
        self._fd = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        self._worker = Worker("hawse-flush")
        self._turn = anyio.Lock()
        self._owed = 0
        self._flushed = 0
        self._doubtful = False

    @classmethod
    async def open(cls, database: Path, recover: Callable[[], Awaitable[None]]) -> Barrier:
        """Open it: what the log holds already is on the disk when this returns, and so are the names of the files.

        Raises Unavailable.
        """
        barrier = cls(database.with_name(f"{database.name}-wal"), recover)
        try:
            flush_directory(database.parent)
            barrier.owe()
            await barrier.wait()
        except BaseException:
            barrier.close()
            raise
        return barrier

    def owe(self) -> None:
        """Something was committed just now that must not be told before it is on the disk."""
        self._owed += 1

    async def wait(self) -> None:
        """Wait until everything that was owed by now is on the disk; at once when it is.

        Raises Unavailable when the disk refuses it.
        """
        wanted = self._owed
        while self._flushed < wanted:
            async with self._turn:
                if self._flushed < wanted:
                    covered = self._owed  # also what others came to wait for behind us
                    await self._flush()
                    self._flushed = covered

    async def _flush(self) -> None:
        try:
            if self._doubtful:
                # The kernel reports a failed write once and takes the page for clean: the next flush proves nothing about it
                # (fsync(2), NOTES).  A checkpoint writes everything again, elsewhere.
                await self._recover()
            await self._worker.run(os.fdatasync, self._fd)
            self._doubtful = False
        except OSError as e:
            self._doubtful = True
            log.error("store_not_flushed", path=str(self._path), error=e.strerror)
            raise Unavailable(
                f"it was done, but a power cut may undo it: {self._path} cannot be flushed to the disk: {e.strerror}",
                hint="check the disk",
            ) from e

    def close(self) -> None:
        self._worker.close()
        os.close(self._fd)
