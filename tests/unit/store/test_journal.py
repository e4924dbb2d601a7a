"""The journal: no gap, no repetition, no silent jump, whoever reads however slowly."""

from __future__ import annotations

import asyncio
import sqlite3

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Gone, UserError
from hawse.supervisor.store import journal as journal_module
from hawse.supervisor.store import store as store_module
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.epochs import Epochs
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.upkeep import retain

E1, E2, E3 = "1" * 32, "2" * 32, "3" * 32


def started(n):
    return events.DaemonStarted(version="1", pid=n)


async def append(store, *numbers):
    return await store.transact(lambda tx: [tx.append(started(n)) for n in numbers])


async def take(stream, count):
    with anyio.fail_after(60):
        return [await anext(stream) for _ in range(count)]


@pytest.fixture
def small(monkeypatch):
    """Sizes that make every path be taken with few events."""
    monkeypatch.setattr(journal_module, "RING", 4)
    monkeypatch.setattr(journal_module, "CHUNK", 3)
    monkeypatch.setattr(journal_module, "WINDOW", 5)


# cursors


def test_a_cursor_names_epoch_and_seq():
    epochs = Epochs(((1, E1), (101, E2)))
    assert [epochs.of(n) for n in (0, 1, 100, 101, 500)] == [E1, E1, E1, E2, E2]
    assert epochs.cursor(100) == f"{E1}-100"
    assert epochs.parse(f"{E2}-150", oldest=1, head=200) == 150


@pytest.mark.parametrize(
    "cursor", ["", "x", E1, f"{E1}-", f"{E1}-x", f"{E1}--1", f"{E1[1:]}-1", f"{E1}-1\n", f"{E1}-1 "]
)
def test_what_is_no_cursor_is_the_users_error(cursor):
    with pytest.raises(UserError, match="invalid cursor"):
        Epochs(((1, E1),)).parse(cursor, oldest=1, head=5)


@pytest.mark.parametrize(
    ("cursor", "why"),
    [
        (f"{E3}-5", "no epoch"),
        (f"{E1}-8", "up to 9 were pruned"),
        (f"{E1}-101", "ends with 100"),
        (f"{E2}-99", "ends with 200"),
        (f"{E2}-201", "ends with 200"),
    ],
)
def test_a_cursor_that_would_jump_is_gone(cursor, why):
    epochs = Epochs(((1, E1), (101, E2)))
    with pytest.raises(Gone, match=why) as caught:
        epochs.parse(cursor, oldest=10, head=200)
    assert caught.value.oldest == f"{E1}-9"
    assert epochs.parse(caught.value.oldest, oldest=10, head=200) == 9


def test_the_ends_of_epochs_are_cursors():
    epochs = Epochs(((1, E1), (101, E2)))
    for cursor, seq in ((f"{E1}-9", 9), (f"{E1}-100", 100), (f"{E2}-100", 100), (f"{E2}-200", 200)):
        assert epochs.parse(cursor, oldest=10, head=200) == seq


# appending and reading


async def test_events_of_one_transaction_follow_each_other(store):
    first = await append(store, 1, 2)
    (second,) = await append(store, 3)
    assert [e.seq for e in (*first, second)] == [1, 2, 3]
    assert [e.epoch for e in (*first, second)] == [first[0].epoch] * 3
    assert store.journal.head == 3
    assert store.journal.cursor == second.id


async def test_a_cause_is_kept(store):
    (first,) = await append(store, 1)
    await store.transact(lambda tx: tx.append(started(2), cause=first.id))
    assert (await store.read(lambda tx: tx.event(2))).cause == first.id
    assert await store.read(lambda tx: tx.event(3)) is None


async def test_reading_by_type_subject_and_limit(store, samples):
    def fill(tx):
        for n in range(3):
            tx.append(started(n))
            tx.append(events.ContainerCreated(container=samples.container(n)))

    await store.transact(fill)

    async def seqs(**how):
        return [e.seq for e in await store.read(lambda tx: tx.events(**how))]

    assert await seqs() == [1, 2, 3, 4, 5, 6]
    assert await seqs(after=2, limit=2) == [3, 4]
    assert await seqs(types=["container.*"]) == [2, 4, 6]
    assert await seqs(types=["nothing.*"]) == []
    assert await seqs(subject="daemon", after=1, upto=4) == [3]
    last = await store.read(lambda tx: tx.last_events("daemon", limit=2))
    assert [e.seq for e in last] == [3, 5]
    last = await store.read(lambda tx: tx.last_events("", "container.created", "network.*", limit=2))
    assert [e.seq for e in last] == [4, 6]


async def test_reading_since_a_time(store, clock):
    for n in range(3):
        await append(store, n)
        clock.advance(10)
    at = clock.now
    assert await store.read(lambda tx: tx.seq_at(at - 20 * 10**9)) == 1
    assert await store.read(lambda tx: tx.seq_at(at - 15 * 10**9)) == 2
    assert await store.read(lambda tx: tx.seq_at(0)) == 0
    assert await store.read(lambda tx: tx.seq_at(at)) == 3


async def test_snapshot_and_follow_leave_no_gap(store, samples):
    def create(tx):
        tx.put(samples.container(1))
        tx.append(events.ContainerCreated(container=samples.container(1)))

    await store.transact(create)
    snapshot = await store.snapshot()
    await append(store, 2)
    (event,) = await take(store.journal.follow(snapshot.cursor), 1)
    assert snapshot.containers == [samples.container(1)]
    assert event.seq == 2


# following


async def test_a_follower_gets_what_is_there_and_what_comes(small, store):
    await append(store, *range(20))
    stream = store.journal.follow()
    got = await take(stream, 20)
    await append(store, *range(20, 23))
    got += await take(stream, 3)
    assert [e.fact.pid for e in got] == list(range(23))


async def test_a_stream_begins_with_its_call_not_with_its_first_read(store):
    await append(store, 1)
    stream = store.journal.follow_seq(store.journal.head)
    await append(store, 2)
    assert [e.fact.pid for e in await take(stream, 1)] == [2]


async def test_readers_of_every_speed_see_every_event_once_in_order(small, store):
    """From the ring, from the database and across the border between them."""
    total, filters = 200, [{}, {"types": ["daemon.*"]}, {"subject": "daemon"}]

    async def read(pause, how):
        seen = []
        async for event in store.journal.follow(until=total, **how):
            seen.append(event.seq)
            if pause and len(seen) % pause == 0:
                await asyncio.sleep(0.0005)
        assert seen == list(range(1, total + 1))

    async with anyio.create_task_group() as tasks:
        for pause in (0, 1, 7):
            for how in filters:
                tasks.start_soon(read, pause, how)
        for n in range(0, total, 4):
            await append(store, *range(n, n + 4))


async def test_a_reader_holds_a_few_events_however_many_there_are(small, store):
    """What a stopped reader costs in memory."""
    await append(store, *range(20))
    for behind in range(1, 5):
        position, held = store.journal._newest(20 - behind, None, "")
        assert [e.seq for e in held] == list(range(21 - behind, 21))[:3]
        assert position == held[-1].seq
    _, held = await store.journal._stored(0, None, "")
    assert [e.seq for e in held] == [1, 2, 3]


async def test_a_filter_that_matches_little_is_not_late(small, store, samples):
    """The reader's position moves over what it does not want."""
    stream = store.journal.follow(types=["container.*"])
    await append(store, *range(30))
    await store.transact(lambda tx: tx.append(events.ContainerCreated(container=samples.container(1))))
    await append(store, *range(30))
    await store.transact(lambda tx: tx.append(events.ContainerCreated(container=samples.container(2))))
    assert [e.seq for e in await take(stream, 2)] == [31, 62]


async def test_until_ends_a_stream(store):
    await append(store, *range(10))
    assert [e.seq async for e in store.journal.follow(until=store.journal.head)] == list(range(1, 11))
    assert [e.seq async for e in store.journal.follow(until=4)] == [1, 2, 3, 4]
    assert [e async for e in store.journal.follow(store.journal.cursor, until=store.journal.head)] == []


async def test_a_rolled_back_event_is_told_to_nobody(store):
    stream = store.journal.follow_seq(store.journal.head)

    def fail(tx):
        tx.append(started(1))
        raise UserError("no")

    with pytest.raises(UserError):
        await store.transact(fail)
    await append(store, 2)
    (event,) = await take(stream, 1)
    assert (event.seq, event.fact.pid) == (1, 2)


async def test_subscribers_are_told_in_order_before_the_committer_goes_on(store):
    told = []
    with store.journal.subscribe(lambda event: told.append(event.seq)):
        await append(store, 1, 2)
        assert told == [1, 2]
        await append(store, 3)
        assert told == [1, 2, 3]
    await append(store, 4)
    assert told == [1, 2, 3]


async def test_a_subscriber_that_fails_harms_nobody(store):
    complaints, told = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    def fail(event):
        raise ValueError("mine")

    with store.journal.subscribe(fail), store.journal.subscribe(lambda event: told.append(event.seq)):
        await append(store, 1)
    assert told == [1]
    assert [str(e) for e in complaints] == ["mine"]


# epochs


async def test_a_clean_reboot_keeps_the_epoch(tmp_path):
    async with await Store.open(tmp_path / "s.db", boot_id="b1") as store:
        (event,) = await append(store, 1)
    async with await Store.open(tmp_path / "s.db", boot_id="b2") as store:
        assert store.journal.parse(event.id) == 1
        assert (await append(store, 2))[0].epoch == event.epoch


async def test_a_killed_daemon_keeps_the_epoch(tmp_path):
    """kill -9 loses no commit; only a power failure can."""
    store = await Store.open(tmp_path / "s.db", boot_id="b1")
    (event,) = await append(store, 1)
    again = await Store.open(tmp_path / "s.db", boot_id="b1")
    assert again.journal.parse(event.id) == 1
    await again.close()
    await store.close()


async def test_after_a_power_failure_lost_events_are_gone_and_older_ones_keep_their_ids(tmp_path):
    store = await Store.open(tmp_path / "s.db", boot_id="b1")
    kept, seen = await append(store, 1, 2)
    await store._writer.run(lambda c: c.execute("DELETE FROM events WHERE seq = 2"))  # what was not on the disk yet
    again = await Store.open(tmp_path / "s.db", boot_id="b2")
    (fresh,) = await append(again, 3)
    assert fresh.seq == 2
    assert fresh.epoch != kept.epoch
    assert [e.id async for e in again.journal.follow(until=2)] == [kept.id, fresh.id]
    assert [e.id async for e in again.journal.follow(kept.id, until=2)] == [fresh.id]
    with pytest.raises(Gone, match="ends with 1"):
        again.journal.follow(seen.id)
    await again.close()
    await store.close()


# pruning


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
