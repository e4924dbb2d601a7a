"""What happens between opening the file and the first transaction: migrate, check, decide which epoch this is."""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.schema import migrate
from hawse.supervisor.store.tx import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What opening found."""

    epochs: Epochs
    oldest: int
    head: int


def prepare(connection: sqlite3.Connection, boot_id: str) -> Opened:
    """Runs before anybody else sees the database."""
    migrate(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        tx = Tx(connection, time.time_ns, Epochs(((1, ""),)))
        head = tx.head()
        powerless = bool(boot_id and tx.meta("boot_id") not in ("", boot_id) and tx.meta("clean") != "yes")
        _check(connection, thorough=powerless)
        if powerless:
            connection.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (head + 1, uuid.uuid4().hex))
        if boot_id:
            tx.put_meta("boot_id", boot_id)
        tx.put_meta("clean", "no")
        spans = connection.execute("SELECT first_seq, epoch FROM epochs ORDER BY first_seq").fetchall()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return Opened(epochs=Epochs(tuple(spans)), oldest=tx.oldest(), head=head)


def _check(connection: sqlite3.Connection, *, thorough: bool) -> None:
    """The state's tables at every start; the journal, which may be a gigabyte, only after a power failure.

    Raises Unavailable.
    """
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if thorough or name not in ("events",)
    ]
    for table in tables:
        for (verdict,) in connection.execute(f"PRAGMA quick_check('{table}')"):
            if verdict != "ok":
                damage = sqlite3.DatabaseError(verdict)
                damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                damage.sqlite_errorname = f"{table}: {verdict}"
                raise damage


def examine(path: Path) -> tuple[str, set[str]]:
    """A database that nobody has open: what is wrong with it ("" for nothing), and the containers that it knows."""
    if not path.exists():
        return "it is missing", set()
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return str(verdict), set()
            known = {str(row[0]) for row in connection.execute("SELECT id FROM containers")}
            return "", known
    except sqlite3.DatabaseError as e:
        return str(e), set()


def mark_clean(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('clean', 'yes')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
