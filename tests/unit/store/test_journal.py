"""The journal: no gap, no repetition, no silent jump, whoever reads however slowly."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import UserError
from tests.unit.store.journals import append, small, started, take

__all__ = ["small"]  # a fixture

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
