"""One SQLite connection in a thread of its own, and the words for what SQLite refuses.

Nothing here knows a table.  A unit of work is a whole function run in the connection's thread: one hop, however many
statements it has (a hop costs about 0.15 ms, a statement 0.01).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from hawse.supervisor.core.errors import Bug, HawseError, KernelError, Unavailable

T = TypeVar("T")

BUSY_TIMEOUT = 5.0  # seconds that we wait for another process (a sqlite3 shell) to let go of the write lock
WAL_PAGES = 8000  # of 4 KiB, after which a commit does itself what Store.checkpoint did not do in time
WAL_LIMIT = 64 << 20  # bytes that the write-ahead log's file keeps after a checkpoint


class Connection(aiosqlite.Connection):
    """A connection whose unit of work is a function; autocommit (isolation_level None), so every BEGIN is ours."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            lambda: sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=256),
            iter_chunk_size=64,
        )
        # A process that ends without having closed us must end all the same; to SQLite that is a kill, no worse.
        thread: Any = getattr(self, "_thread", self)  # aiosqlite < 0.22 is the thread itself
        thread.daemon = True
        self.in_flight = 0
        self._path = path

    @classmethod
    async def open(cls, path: Path, *, writable: bool) -> Connection:
        """Raises KernelError when the file cannot be opened, Unavailable when it is no database."""
        try:
            # The records hold environments, which hold secrets.  -wal and -shm take the mode of the file.
            # O_EXCL: closing a file that SQLite has open in this process would drop its POSIX locks (fcntl(2)).
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as e:
            raise KernelError("open", e.errno or 0, str(path)) from e
        connection = cls(path)
        try:
            await connection
        except sqlite3.Error as e:
            raise translate(e, path) from e
        try:
            await connection.run(_configure_writer if writable else _configure_reader)
            # The first read opens the -wal file: now, so that later the daemon's descriptors do not grow.
            await connection.run(lambda opened: opened.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` in the connection's thread; it is queued at once, so a cancelled caller does not take it back."""
        self.in_flight += 1
        try:
            result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
            return result
        except ValueError as e:
            if self._running and self._connection:
                raise
            raise Unavailable("the state database is closed") from e
        except sqlite3.Error as e:
            raise translate(e, self._path) from e
        finally:
            self.in_flight -= 1


def _configure_writer(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    connection.execute("PRAGMA temp_store = MEMORY")


def _configure_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA temp_store = MEMORY")


def translate(error: sqlite3.Error, path: Path) -> HawseError:
    """Return what a refusal of SQLite means to the people above."""
    # https://www.sqlite.org/rescode.html: the low byte is the primary code
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code in _REASONS:
        reason, hint = _REASONS[code]
        return Unavailable(f"the state database {path} {reason} [{name}]", hint=hint)
    return Bug(f"the store refused: {error} [{name}]")


_DAMAGED = "containers keep running; `hawse daemon --rebuild-state` makes a new one, or put a copy back"
_REASONS = {
    sqlite3.SQLITE_FULL: ("cannot be written: the disk is full", "free some space; nothing was changed"),
    sqlite3.SQLITE_READONLY: ("cannot be written: it is read-only", "check the mount and the file's mode"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", "check the disk; nothing was changed"),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "is another daemon or a sqlite3 shell using it?"),
    sqlite3.SQLITE_LOCKED: ("is locked by another process", "is another daemon or a sqlite3 shell using it?"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that its directory exists and is writable"),
    sqlite3.SQLITE_PERM: ("cannot be opened: permission denied", "the daemon needs root"),
    sqlite3.SQLITE_NOMEM: ("cannot be used: out of memory", ""),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _DAMAGED),
    sqlite3.SQLITE_NOTADB: ("is not a database", _DAMAGED),
}
