"""A database of an earlier hawse: its rows are brought to what today's records are."""

from __future__ import annotations

import json
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from hawse.supervisor.core.events import encode_fact
from hawse.supervisor.core.model import ContainerConfig, ImageConfig, State, Verb, Wish, encode
from hawse.supervisor.store.schema import MIGRATIONS
from hawse.supervisor.store.store import Store
from tests.unit.conftest import Samples, before_wishes

WISHLESS = 3
"""The version before records had a wish."""
TELLING = 4
"""The version whose events and tombstones had the values of variables."""
PINNED = ("5eb596d93f02ed82", "35eed0e75544f53a", "7ce89e5f5fa25d9a", "c79b0ab0f843798a")
"""The entries that databases somewhere have been through, by the beginning of their SHA-256."""


def test_an_entry_that_is_in_use_never_changes() -> None:
    """A database that has been through it would not go through it again: what is new is an entry of its own."""
    assert tuple(sha256(entry.encode()).hexdigest()[:16] for entry in MIGRATIONS[: len(PINNED)]) == PINNED


async def test_records_of_before_get_their_wish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    path = tmp_path / "s.db"
    monkeypatch.setattr("hawse.supervisor.store.schema.MIGRATIONS", MIGRATIONS[:WISHLESS])
    async with await Store.open(path):
        pass
    monkeypatch.undo()
    runs, stopped, gone = (
        samples.container(n, state=state) for n, state in enumerate((State.RUNNING, *[State.EXITED] * 2))
    )
    asked = {"stopped_by_user": True, "ended_by": "stop", "end_signal": 15, "end_grace": 10}
    raw = sqlite3.connect(path)
    for container, fields in ((runs, {}), (stopped, asked)):
        row = (container.id, container.name, container.state.value, 1, json.dumps(before_wishes(container, **fields)))
        raw.execute("INSERT INTO containers VALUES (?, ?, ?, ?, ?)", row)
    raw.execute(
        "INSERT INTO tombstones VALUES (?, ?, ?, ?)", (gone.id, gone.name, 1, json.dumps(before_wishes(gone, **asked)))
    )
    raw.commit()
    raw.close()
    async with await Store.open(path) as store:
        found = await store.read(lambda tx: [tx.find(runs.name), tx.find(stopped.name), tx.tombstone(gone.name)])
    assert [container.wish for container in found] == [None, *[Wish(verb=Verb.STOP, signal=15, grace=10)] * 2]
    with sqlite3.connect(path) as raw:
        assert not list(raw.execute("SELECT id FROM containers WHERE json LIKE '%ended_by%'"))
    raw.close()


async def test_values_of_variables_leave_what_was_journalled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    path = tmp_path / "s.db"
    monkeypatch.setattr("hawse.supervisor.store.schema.MIGRATIONS", MIGRATIONS[:TELLING])
    async with await Store.open(path):
        pass
    monkeypatch.undo()
    container = samples.container(config=ContainerConfig(image="i", env=("TOKEN=hunter2", "PLAIN=")))
    image = samples.image(config=ImageConfig(env=("TOKEN=hunter2",)))
    told = {name: json.loads(encode(record)) for name, record in (("container", container), ("image", image))}
    with sqlite3.connect(path) as raw:
        for name, subject in (("container", f"container/{container.id}"), ("image", f"image/{image.id}")):
            row = (f"{name}.created", subject, json.dumps({name: told[name]}))
            raw.execute("INSERT INTO events (time, total, type, subject, cause, json) VALUES (1, 1, ?, ?, '', ?)", row)
        row = (container.id, container.name, 1, json.dumps(told["container"]))
        raw.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?)", row)
    raw.close()
    async with await Store.open(path) as store:
        events, gone = await store.read(lambda tx: (tx.events(), tx.tombstone(container.id)))
    assert gone.config.env == ("TOKEN", "PLAIN")
    assert [encode_fact(event.fact).count(b"TOKEN") for event in events] == [1, 1]
    assert not [event for event in events if b"hunter2" in encode_fact(event.fact)]


async def test_a_tombstone_has_no_values_of_variables(tmp_path: Path, samples: Samples) -> None:
    container = samples.container(config=ContainerConfig(image="i", env=("TOKEN=hunter2",)))
    async with await Store.open(tmp_path / "s.db") as store:
        await store.transact(lambda tx: tx.put(container))
        await store.transact(lambda tx: tx.delete_container(container.id))
        assert (await store.read(lambda tx: tx.tombstone(container.id))).config.env == ("TOKEN",)
