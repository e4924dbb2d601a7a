"""What every group of rows works with: the transaction's connection, the clock and the journal's epochs."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from hawse.supervisor.store.epochs import Epochs


class Session:
    """One transaction in SQLite's thread; not to be kept beyond the function that it was given to."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], int], epochs: Epochs, cause: str = ""
    ) -> None:
        self._clock = clock
        self._epochs = epochs
        self._cause = cause  # of what is appended
        self._connection = connection

    def _all(self, sql: str, *parameters: Any) -> list[Any]:
        return self._connection.execute(sql, parameters).fetchall()

    def _one(self, sql: str, *parameters: Any) -> Any:
        """The first row, or None."""
        return self._connection.execute(sql, parameters).fetchone()

    def _column(self, sql: str, *parameters: Any) -> list[Any]:
        return [value for (value,) in self._connection.execute(sql, parameters)]

    def _do(self, sql: str, *parameters: Any) -> int:
        """Run a change; how many rows it touched."""
        return self._connection.execute(sql, parameters).rowcount

    def _select(self, what: str, order: str = "", **equal: Any) -> list[Any]:
        """`what` ("a, b FROM t") where every given column that is not None equals its value: only then is an index used."""
        given = {column: value for column, value in equal.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given)
        return self._all(f"SELECT {what}{' WHERE ' if where else ''}{where} {order}", *given.values())


def near(wanted: str, known: Iterable[str]) -> str:
    """A hint that names what may have been meant; "" when nothing is near."""
    found = difflib.get_close_matches(wanted, list(known), n=3)
    return f"did you mean {' or '.join(found)}?" if found else ""
