"""What a journal may say: every number once, and each container's events in the order that is promised.

    created < connected < started < exited < disconnected < removed      (and round again from connected, without a remove)

Reads the database of a daemon from outside, as anybody could; nothing of the daemon is used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

PREFIX = "container/"


def anomalies(database: Path, after: int = 0) -> list[str]:
    """Return what is wrong with the events after that number; empty when nothing is."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute("SELECT seq, type, subject, json FROM events WHERE seq > ? ORDER BY seq", (after,))
        events = rows.fetchall()
    found = [f"no event {seq - 1}" for (before, *_), (seq, *_) in pairwise(events) if seq != before + 1]
    lives: dict[str, Life] = {}
    for seq, kind, subject, body in events:
        if subject.startswith(PREFIX):
            life = lives.setdefault(subject, Life())
            found += [f"event {seq} {kind} of {subject[:22]}: {wrong}" for wrong in life.take(kind, json.loads(body))]
    return found


def head(database: Path) -> int:
    """The newest event's number."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        (seq,) = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM events").fetchone()
    return int(seq)


class Life:
    """One container as its events tell it."""

    def __init__(self) -> None:
        self._known = self._running = self._removed = False
        self._plugged: set[str] = set()

    def take(self, kind: str, fact: dict[str, Any]) -> Iterator[str]:
        """Return what is wrong with this being the next event."""
        if self._removed:
            yield "after its removal"
        if kind == "container.created":
            if self._known:
                yield "not the first"
        elif not self._known:
            yield "before its creation"
        self._known = True
        match kind:
            case "network.connected":
                if self._running:
                    yield "while it runs"
                yield from self._plug(fact["endpoint"]["network"])
            case "container.started":
                if self._running:
                    yield "while it runs"
                for missing in {e["network"] for e in fact["endpoints"]} - self._plugged:
                    yield f"before its connection to {missing}"
                self._running = True
            case "container.exited":
                if not self._running:
                    yield "while it does not run"
                self._running = False
            case "network.disconnected":
                if self._running:
                    yield "while it runs"
                if fact["endpoint"]["network"] not in self._plugged:
                    yield "without a connection"
                self._plugged.discard(fact["endpoint"]["network"])
            case "container.removed":
                if self._running:
                    yield "while it runs"
                if self._plugged:
                    yield f"while connected to {', '.join(sorted(self._plugged))}"
                self._removed = True

    def _plug(self, network: str) -> Iterator[str]:
        if network in self._plugged:
            yield "twice"
        self._plugged.add(network)
