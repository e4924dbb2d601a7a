"""What `hawse selftest` reads from a journal: a good one is silent, and every kind of lie is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from hawse.cli.selftest.story import anomalies, head

Told = tuple[str, str]
PLUG = {"endpoint": {"network": "n"}, "endpoints": [{"network": "n"}]}
GOOD = ["created", "connected", "started", "exited", "disconnected", "connected", "started", "exited", "disconnected"]
KINDS = {"connected": "network.connected", "disconnected": "network.disconnected"}


def journal(path: Path, *lives: Sequence[str], skip: int = 0) -> Path:
    database = path / "hawse.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, type TEXT, subject TEXT, json TEXT)")
        seq = 0
        for number, life in enumerate(lives):
            for word in life:
                seq += 1 + (seq + 1 == skip)
                kind = KINDS.get(word, f"container.{word}")
                row = (seq, kind, f"container/{number}", json.dumps(PLUG))
                connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
    connection.close()
    return database


def test_a_good_journal_is_silent(tmp_path: Path) -> None:
    database = journal(tmp_path, [*GOOD, "removed"], [*GOOD[:5], "start_failed", "removed"], ["created"])
    assert anomalies(database) == []
    assert head(database) == 18


def test_a_gap_is_told(tmp_path: Path) -> None:
    assert anomalies(journal(tmp_path, GOOD, skip=4)) == ["no event 4"]


@pytest.mark.parametrize(
    ("life", "wrong"),
    [
        (["started"], "before its creation"),
        (["created", "created"], "not the first"),
        (["created", "started"], "before its connection to n"),
        (["created", "connected", "connected"], "twice"),
        (["created", "connected", "started", "started"], "while it runs"),
        (["created", "connected", "exited"], "while it does not run"),
        (["created", "connected", "started", "exited", "exited"], "while it does not run"),
        (["created", "disconnected"], "without a connection"),
        (["created", "connected", "started", "disconnected"], "while it runs"),
        (["created", "connected", "started", "removed"], "while it runs"),
        (["created", "connected", "removed"], "while connected to n"),
        (["created", "removed", "connected"], "after its removal"),
        (["created", "removed", "removed"], "after its removal"),
    ],
)
def test_a_life_out_of_order_is_told(tmp_path: Path, life: list[str], wrong: str) -> None:
    assert any(line.endswith(wrong) for line in anomalies(journal(tmp_path, life)))
