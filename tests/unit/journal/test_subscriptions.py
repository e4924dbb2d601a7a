"""Subscriptions: at least once, in order per subject, whatever consumers and daemons do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.errors import Conflict, Gone, NotFound, UserError
from hawse.supervisor.journal.subscriptions import (
    WINDOW,
    Consumer,
    Delivered,
    LiveSubscription,
    Subscriptions,
    parse_ids,
)
from hawse.supervisor.store.store import Store

QUICK = 0.05


async def tell(store: Store, samples: Any, *numbers: int) -> None:
    """One event for each number, of the container with that number."""
    for n in numbers:
        await store.transact(lambda tx, n=n: tx.append(facts.ContainerStarted(container=samples.container(n))))  # type: ignore[misc]


def seqs(delivered: list[Delivered]) -> list[int]:
    return [one.row.seq for one in delivered]


@pytest.fixture
async def subscription(store: Store) -> LiveSubscription:
    return await Subscriptions(store).create("mine", position=0, ack_seconds=100)


async def test_one_of_a_subject_at_a_time_and_the_others_go_on(
    store: Store, samples: Any, subscription: LiveSubscription
) -> None:
    await tell(store, samples, 1, 1, 2, 1)
    me = Consumer()
    assert seqs(await subscription.take(me, QUICK)) == [1, 3]
    assert await subscription.take(me, 0) == []
    await subscription.acknowledge([1])
    assert seqs(await subscription.take(me, QUICK)) == [2]
    await subscription.acknowledge([3, 2])
    assert seqs(await subscription.take(me, QUICK)) == [4]
    assert subscription.cursor == 3
    await subscription.acknowledge([4, 4, 77])
    assert (subscription.cursor, subscription.lag) == (4, 0)


async def test_what_is_not_acknowledged_in_time_comes_again_before_what_follows(store: Store, samples: Any) -> None:
    subscription = await Subscriptions(store).create("mine", position=0, ack_seconds=0.05)
    await tell(store, samples, 1, 1)
    me = Consumer()
    assert seqs(await subscription.take(me, QUICK)) == [1]
    again = await subscription.take(me, 60)
    assert [(one.row.seq, one.attempt) for one in again] == [(1, 2)]
    await subscription.acknowledge([1])
    assert seqs(await subscription.take(me, 60)) == [2]


async def test_a_late_acknowledgement_still_counts(store: Store, samples: Any) -> None:
    subscription = await Subscriptions(store).create("mine", position=0, ack_seconds=0.05)
    await tell(store, samples, 1)
    assert seqs(await subscription.take(Consumer(), QUICK)) == [1]
    await subscription.pause(True)
    assert await subscription.take(Consumer(), 0.1) == []  # its deadline passes
    await subscription.acknowledge([1])
    await subscription.pause(False)
    assert await subscription.take(Consumer(), 0) == []


async def test_what_a_consumer_leaves_is_for_the_next(
    store: Store, samples: Any, subscription: LiveSubscription
) -> None:
    await tell(store, samples, 1, 2)
    first, second = Consumer(), Consumer()
    assert seqs(await subscription.take(first, QUICK)) == [1, 2]
    assert await subscription.take(second, 0) == []
    await subscription.acknowledge([1])
    subscription.leave(first)
    assert seqs(await subscription.take(second, QUICK)) == [2]


async def test_a_restart_delivers_what_was_not_acknowledged_and_nothing_else(tmp_path: Path, samples: Any) -> None:
    async with await Store.open(tmp_path / "db") as store:
        subscription = await Subscriptions(store).create("mine", position=0, filters=("type=container.*",))
        await tell(store, samples, 1, 2, 3, 4)
        await subscription.take(Consumer(), QUICK)
        await subscription.acknowledge([1, 3])
    async with await Store.open(tmp_path / "db") as store:
        subscription = await Subscriptions(store).named("mine")
        assert subscription.record.cursor.endswith("-1")
        assert seqs(await subscription.take(Consumer(), QUICK)) == [2, 4]


async def test_a_consumer_that_waits_is_woken_by_a_new_event(
    store: Store, samples: Any, subscription: LiveSubscription
) -> None:
    got: list[int] = []

    async def consume() -> None:
        got.extend(seqs(await subscription.take(Consumer(), 60)))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            await tell(store, samples, 1)
    assert got == [1]


async def test_pause_holds_and_resume_wakes(store: Store, samples: Any, subscription: LiveSubscription) -> None:
    await subscription.pause(True)
    await tell(store, samples, 1)
    assert await subscription.take(Consumer(), 0) == []
    got: list[int] = []

    async def consume() -> None:
        got.extend(seqs(await subscription.take(Consumer(), 60)))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            await subscription.pause(False)
    assert got == [1]


async def test_replay_delivers_again_and_old_acknowledgements_do_not_count(
    store: Store, samples: Any, subscription: LiveSubscription
) -> None:
    await tell(store, samples, 1, 2)
    await subscription.take(Consumer(), QUICK)
    await subscription.acknowledge([1])
    await subscription.replay(0)
    await subscription.acknowledge([2])
    assert seqs(await subscription.take(Consumer(), QUICK)) == [1, 2]


async def test_one_stuck_subject_bounds_what_is_held(
    store: Store, samples: Any, subscription: LiveSubscription
) -> None:
    def many(tx: Any) -> None:
        for _ in range(WINDOW + 600):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    assert seqs(await subscription.take(Consumer(), QUICK)) == [1]
    assert await subscription.take(Consumer(), 0) == []
    assert len(subscription._pending) < WINDOW + 300
    await subscription.acknowledge([1])
    assert seqs(await subscription.take(Consumer(), QUICK)) == [2]


async def test_pruning_is_told_once_and_counted(store: Store, samples: Any, subscription: LiveSubscription) -> None:
    def many(tx: Any) -> None:
        for _ in range(1500):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    await store.prune(max_age=10**6, max_bytes=1)
    with pytest.raises(Gone):
        await subscription.take(Consumer(), QUICK)
    assert subscription.record.lost == 1499
    assert seqs(await subscription.take(Consumer(), QUICK)) == [1500]


async def test_the_cursor_passes_what_is_not_wanted(store: Store, samples: Any) -> None:
    subscription = await Subscriptions(store).create("mine", position=0, filters=("type=network.*",))

    def many(tx: Any) -> None:
        for _ in range(1200):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    assert await subscription.take(Consumer(), 0) == []
    stored = await store.read(lambda tx: tx.subscription("mine"))
    assert int(stored.cursor.rpartition("-")[2]) > 500


async def test_names_removal_and_ids(store: Store) -> None:
    subscriptions = Subscriptions(store)
    subscription = await subscriptions.create("mine", position=0)
    with pytest.raises(Conflict):
        await subscriptions.create("mine", position=0)
    for bad in ("", "../x", "a b", "x" * 64):
        with pytest.raises(UserError):
            await subscriptions.create(bad, position=0)
    with pytest.raises(UserError):
        await subscriptions.create("other", position=0, ack_seconds=0)
    await subscriptions.remove("mine")
    with pytest.raises(NotFound):
        await subscription.take(Consumer(), QUICK)
    with pytest.raises(NotFound):
        await subscriptions.remove("mine")
    epochs = store.journal.epochs
    with pytest.raises(UserError):
        parse_ids(["nonsense"], epochs)
    assert parse_ids([epochs.cursor(5), "0" * 32 + "-6"], epochs) == [5]
