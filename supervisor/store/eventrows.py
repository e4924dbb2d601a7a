"""Rows of the journal: append, read, prune.

`append` is the only way a fact becomes an event, and it runs in the transaction that changes the state.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from hawse.supervisor.core.events import FACT_TYPES, Event, ExecEnded, ExecStarted, Fact, decode_fact, encode_fact
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.session import Session

ROW_OVERHEAD = 200  # bytes of one event beside its json: two index entries, the envelope's columns
DEAD_KEPT = 10_000  # dead letters whose events are gone
_COLUMNS = "seq, time, type, subject, cause, json"
RAW_COLUMNS = "seq, time, type, subject, cause, CAST(json AS BLOB)"
_ASCENDING = "ORDER BY seq LIMIT ?"


class EventRows(Session):
    appended: list[Event]  # by this transaction; published when it has committed

    def append(self, fact: Fact, cause: str | None = None) -> Event:
        """Journal a fact; `cause` is the id of the event that led here: if not given, the one that is being handled.

        It exists when the transaction commits.
        """
        now = self._clock()
        cause = self._cause if cause is None else cause
        body = encode_fact(fact).decode()
        cursor = self._connection.execute(
            """INSERT INTO events (time, total, type, subject, cause, json)
               VALUES (?, ? + COALESCE((SELECT total FROM events ORDER BY seq DESC LIMIT 1), 0), ?, ?, ?, ?)""",
            (now, len(body) + ROW_OVERHEAD, fact.TYPE, fact.subject, cause, body),
        )
        assert cursor.lastrowid is not None
        seq = cursor.lastrowid
        event = Event(epoch=self._epochs.of(seq), seq=seq, time=now, fact=fact, cause=cause)
        self.appended.append(event)
        return event

    def event(self, seq: int) -> Event | None:
        row = self._one(f"SELECT {_COLUMNS} FROM events WHERE seq = ?", seq)
        return from_row(row, self._epochs) if row else None

    def events(
        self,
        after: int = 0,
        limit: int = 1000,
        *,
        types: Collection[str] = (),
        subject: str = "",
        upto: int | None = None,
    ) -> list[Event]:
        """At most `limit` events after that seq; `types` are globs ("container.*"), none of them means every type."""
        where, parameters = ["seq > ?"], [after]
        if upto is not None:
            where.append("seq <= ?")
            parameters.append(upto)
        return [from_row(row, self._epochs) for row in self._rows(where, parameters, types, subject, _ASCENDING, limit)]

    def stored(
        self, after: int, limit: int, *, types: Collection[str] = (), subject: str = "", upto: int | None = None
    ) -> list[Stored]:
        """`events`, undecoded."""
        where, parameters = ["seq > ?"], [after]
        if upto is not None:
            where.append("seq <= ?")
            parameters.append(upto)
        rows = self._rows(where, parameters, types, subject, _ASCENDING, limit, RAW_COLUMNS)
        return list(map(Stored._make, rows))

    def last_events(self, subject: str = "", *types: str, limit: int = 100) -> list[Event]:
        """The newest ones of that subject and those types, oldest of them first; no subject or type means every one."""
        rows = self._rows([], [], types, subject, "ORDER BY seq DESC LIMIT ?", limit)
        return [from_row(row, self._epochs) for row in rows[::-1]]

    def unended_execs(self, container_id: str, limit: int = 1000) -> dict[str, str]:
        """Execs of a container of which the journal has the start and not the end: id → id of the event that tells of it."""
        rows = self._all(
            """SELECT seq, type, json_extract(json, '$.exec_id') FROM events
               WHERE subject = ? AND type IN (?, ?) ORDER BY seq DESC LIMIT ?""",
            *(f"container/{container_id}", ExecStarted.TYPE, ExecEnded.TYPE, limit),
        )
        begun: dict[str, str] = {}
        for seq, type_, exec_id in reversed(rows):
            if type_ == ExecStarted.TYPE:
                begun[exec_id] = self._epochs.cursor(seq)
            else:
                begun.pop(exec_id, None)
        return begun

    def _rows(
        self,
        where: list[str],
        parameters: list[Any],
        types: Collection[str],
        subject: str,
        tail: str,
        limit: int,
        columns: str = _COLUMNS,
    ) -> list[Any]:
        if types:
            wanted = matching(types)
            where.append(f"type IN ({', '.join('?' * len(wanted))})")
            parameters.extend(wanted)
        if subject:
            where.append("subject = ?")
            parameters.append(subject)
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        return self._all(f"SELECT {columns} FROM events {clause} {tail}", *parameters, limit)

    def head(self) -> int:
        """The newest event's seq; 0 before the first."""
        row = self._one("SELECT seq FROM events ORDER BY seq DESC LIMIT 1")
        return int(row[0]) if row else 0

    def oldest(self) -> int:
        """The oldest event's seq; 1 before the first."""
        row = self._one("SELECT seq FROM events ORDER BY seq LIMIT 1")
        return int(row[0]) if row else 1

    def seq_at(self, time: int) -> int:
        """The seq after which to read for everything since that time, as the clock was when it was written."""
        # MIN(seq) would look through the whole journal, by seq or by time; the first by time is one step in the index.
        row = self._one("SELECT seq FROM events WHERE time >= ? ORDER BY time, seq LIMIT 1", time)
        return int(row[0]) - 1 if row else self.head()

    def journal_bytes(self) -> int:
        """About how many bytes the kept events take."""
        row = self._one(
            """SELECT (SELECT total FROM events ORDER BY seq DESC LIMIT 1),
                      (SELECT total FROM events ORDER BY seq LIMIT 1)"""
        )
        return int(row[0] - row[1]) if row[0] is not None else 0

    def prune_events(self, *, before: int, max_bytes: int, limit: int) -> int:
        """Delete at most `limit` of the oldest events: those before that time, and those that exceed `max_bytes`.

        Never the newest event (the next seq is counted from it), and none that a handler of hawse's own has still to
        finish.  Those of users (their names have a prefix with a colon) have as long as events are kept: one that hangs
        behind for ever must not fill the disk, and is told of what it missed.  A dead letter outlives its event by as
        long again, so that somebody sees it.  How many events went.
        """
        oldest, head = self.oldest(), self.head()
        by_age = min(self.seq_at(before) + 1, head)
        first_kept = max(by_age, self._first_within(max_bytes, oldest, head))
        unfinished = self._one(
            """SELECT MIN(seq) FROM (
                   SELECT MIN(cursor) + 1 AS seq FROM handlers WHERE name NOT LIKE '%:%'
                   UNION ALL SELECT MIN(seq) FROM deliveries WHERE dead = 0 AND handler NOT LIKE '%:%')"""
        )[0]
        first_kept = min(first_kept, oldest + limit)
        if unfinished is not None:
            first_kept = min(first_kept, unfinished)
        self._do(
            """DELETE FROM deliveries WHERE dead = 1 AND seq < ? AND (
                   next_at < ? OR seq <= (SELECT seq FROM deliveries WHERE dead = 1 AND seq < ?
                                          ORDER BY seq DESC LIMIT 1 OFFSET ?))""",
            *(first_kept, before, first_kept, DEAD_KEPT),
        )
        return self._do("DELETE FROM events WHERE seq < ?", first_kept)

    def _first_within(self, max_bytes: int, oldest: int, head: int) -> int:
        """The lowest seq from which on the events fit in `max_bytes`: seqs have no gaps, so bisection by key will do."""
        row = self._one("SELECT total FROM events WHERE seq = ?", head)
        if row is None:
            return oldest
        ceiling = row[0] - max_bytes
        low, high = oldest, head
        while low < high:
            middle = (low + high) // 2
            if self._one("SELECT total FROM events WHERE seq = ?", middle)[0] < ceiling:
                low = middle + 1
            else:
                high = middle
        return low


def from_row(row: tuple[int, int, str, str, str, str], epochs: Epochs) -> Event:
    seq, time, type_, _, cause, body = row
    return Event(epoch=epochs.of(seq), seq=seq, time=time, fact=decode_fact(type_, body), cause=cause)


def matching(globs: Collection[str]) -> list[str]:
    """The event types that one of the globs matches."""
    return [name for name in FACT_TYPES if any(fnmatchcase(name, glob) for glob in globs)]
