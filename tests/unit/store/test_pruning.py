"""What goes from the journal and what it waits for; a reader that is overtaken is told."""

from __future__ import annotations

import sqlite3

import pytest

from hawse.supervisor.core.errors import Gone
from hawse.supervisor.store import store as store_module
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.upkeep import retain
from tests.unit.store.journals import append, small, take

__all__ = ["small"]  # a fixture


async def fill(store, clock, count=10, step=10):
    for n in range(count):
        await append(store, n)
        clock.advance(step)


async def test_pruning_by_age(store, clock):
    await fill(store, clock)
    assert await store.prune(max_age=45, max_bytes=1 << 30) == 6
    assert [e.seq for e in await store.read(lambda tx: tx.events())] == [7, 8, 9, 10]
    assert store.journal.oldest == 7
    with pytest.raises(Gone) as caught:
        store.journal.follow(store.journal.epochs.cursor(3))
    assert [e.seq async for e in store.journal.follow(caught.value.oldest, until=10)] == [7, 8, 9, 10]


async def test_pruning_by_size(store, clock):
    await fill(store, clock, count=40)
    whole = await store.read(lambda tx: tx.journal_bytes())
    await store.prune(max_age=10**6, max_bytes=whole // 4)
    kept = await store.read(lambda tx: tx.journal_bytes())
    assert whole // 5 < kept <= whole // 4


async def test_the_newest_event_stays_so_that_seqs_go_on(tmp_path, clock):
    async with await Store.open(tmp_path / "s.db", clock) as store:
        await fill(store, clock, count=3)
        await store.prune(max_age=0, max_bytes=0)
        assert (store.journal.oldest, store.journal.head) == (3, 3)
    async with await Store.open(tmp_path / "s.db", clock) as store:
        assert [e.seq for e in await append(store, 1)] == [4]


async def test_an_empty_journal_is_pruned_in_peace(store):
    assert await store.prune(max_age=0, max_bytes=0) == 0
    assert (store.journal.oldest, store.journal.head) == (1, 0)
    assert store.journal.parse(store.journal.oldest_cursor) == 0


async def test_pruning_waits_for_handlers_and_for_unfinished_deliveries(store, clock):
    await fill(store, clock)
    await store.transact(lambda tx: tx.put_handler_cursor("h", 5))
    await store.prune(max_age=0, max_bytes=0)
    assert store.journal.oldest == 6
    await store.transact(lambda tx: tx.put_handler_cursor("h", 10))
    await store.transact(lambda tx: tx.put_delivery(Delivery(handler="h", seq=8, subject="daemon")))
    await store.transact(lambda tx: tx.put_delivery(Delivery(handler="h", seq=7, subject="daemon", dead=True)))
    await store.prune(max_age=0, max_bytes=0)
    assert store.journal.oldest == 8
    assert [d.seq for d in await store.read(lambda tx: tx.deliveries())] == [8]  # the dead letter went with its event
    await store.transact(lambda tx: tx.delete_handler("h"))
    await store.prune(max_age=0, max_bytes=0)
    assert store.journal.oldest == 10
    assert await store.read(lambda tx: tx.deliveries()) == []


async def test_pruning_does_not_wait_for_what_users_wrote(store, clock):
    """A webhook that is down for ever must not fill the disk.  Its dead letters are seen for as long again."""
    await fill(store, clock)

    def park(tx):
        tx.put_handler_cursor("hook:h", 5)
        tx.put_delivery(Delivery(handler="hook:h", seq=3, subject="daemon"))
        tx.put_delivery(Delivery(handler="hook:h", seq=4, subject="daemon", dead=True, next_at=store.clock()))

    await store.transact(park)
    await store.prune(max_age=100, max_bytes=0)
    assert store.journal.oldest == 10
    assert [d.seq for d in await store.read(lambda tx: tx.deliveries())] == [3, 4]
    clock.advance(200)
    await store.prune(max_age=100, max_bytes=0)
    assert [d.seq for d in await store.read(lambda tx: tx.deliveries())] == [3]


async def test_pruning_goes_in_steps(store, clock, monkeypatch):
    monkeypatch.setattr(store_module, "PRUNE_BATCH", 3)
    await fill(store, clock)
    assert await store.prune(max_age=0, max_bytes=0) == 9


async def test_pruning_takes_tombstones_of_that_age_too(store, samples, clock):
    def remove(tx):
        tx.put(samples.container(1))
        tx.delete_container(samples.container(1).id)

    await store.transact(remove)
    clock.advance(100)
    await store.prune(max_age=200, max_bytes=1 << 30)
    assert len(await store.read(lambda tx: tx.tombstones())) == 1
    await store.prune(max_age=50, max_bytes=1 << 30)
    assert await store.read(lambda tx: tx.tombstones()) == []


async def test_a_reader_that_pruning_overtakes_is_told(small, store, clock):
    await fill(store, clock, count=20)
    stream = store.journal.follow()
    await take(stream, 2)
    await store.prune(max_age=0, max_bytes=0)
    assert [e.seq for e in await take(stream, 1)] == [3]  # what it already held
    with pytest.raises(Gone, match="pruned before they were read") as caught:
        await take(stream, 1)
    assert caught.value.oldest == store.journal.oldest_cursor


async def test_a_reader_is_told_even_before_the_news_of_the_pruning_arrived(small, store, clock):
    """The race: pruned in the database, not yet known in memory."""
    await fill(store, clock, count=20)
    stream = store.journal.follow()
    await take(stream, 3)
    raw = sqlite3.connect(store.path)
    raw.execute("DELETE FROM events WHERE seq < 10")
    raw.commit()
    raw.close()
    with pytest.raises(Gone):
        await take(stream, 1)


async def test_retention_prunes_now_and_then_and_survives_a_full_disk(store, clock):
    await fill(store, clock, count=5)
    naps = []

    class Enough(Exception):
        pass

    async def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            await store._writer.run(lambda c: c.execute("PRAGMA query_only = ON").fetchall())
        if len(naps) == 3:
            await store._writer.run(lambda c: c.execute("PRAGMA query_only = OFF").fetchall())
            assert store.journal.oldest == 3
            clock.advance(20)
        if len(naps) == 4:
            raise Enough

    with pytest.raises(Enough):
        await retain(store, lambda: (35, 1 << 30), interval=7.0, sleep=sleep)
    assert naps == [7.0] * 4
    assert store.journal.oldest == 5
