"""Subscriptions: at least once, in order per subject, whatever consumers and daemons do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.errors import Conflict, Gone, NotFound, UserError
from hawse.supervisor.journal.subscriptions import WINDOW, Consumer, Delivered, Desk, Subscriptions, parse_ids
from hawse.supervisor.store.store import Store

QUICK = 0.05


async def tell(store: Store, samples: Any, *numbers: int) -> None:
    """One event for each number, of the container with that number."""
    for n in numbers:
        await store.transact(lambda tx, n=n: tx.append(facts.ContainerStarted(container=samples.container(n))))  # type: ignore[misc]


def seqs(delivered: list[Delivered]) -> list[int]:
    return [one.row.seq for one in delivered]


@pytest.fixture
async def desk(store: Store) -> Desk:
    return await Subscriptions(store).create("mine", position=0, ack_seconds=100)


async def test_one_of_a_subject_at_a_time_and_the_others_go_on(store: Store, samples: Any, desk: Desk) -> None:
    await tell(store, samples, 1, 1, 2, 1)
    me = Consumer()
    assert seqs(await desk.take(me, QUICK)) == [1, 3]
    assert await desk.take(me, 0) == []
    await desk.acknowledge([1])
    assert seqs(await desk.take(me, QUICK)) == [2]
    await desk.acknowledge([3, 2])
    assert seqs(await desk.take(me, QUICK)) == [4]
    assert desk.cursor == 3
    await desk.acknowledge([4, 4, 77])
    assert (desk.cursor, desk.lag) == (4, 0)


async def test_what_is_not_acknowledged_in_time_comes_again_before_what_follows(store: Store, samples: Any) -> None:
    desk = await Subscriptions(store).create("mine", position=0, ack_seconds=0.05)
    await tell(store, samples, 1, 1)
    me = Consumer()
    assert seqs(await desk.take(me, QUICK)) == [1]
    again = await desk.take(me, 60)
    assert [(one.row.seq, one.attempt) for one in again] == [(1, 2)]
    await desk.acknowledge([1])
    assert seqs(await desk.take(me, 60)) == [2]


async def test_a_late_acknowledgement_still_counts(store: Store, samples: Any) -> None:
    desk = await Subscriptions(store).create("mine", position=0, ack_seconds=0.05)
    await tell(store, samples, 1)
    assert seqs(await desk.take(Consumer(), QUICK)) == [1]
    await desk.pause(True)
    assert await desk.take(Consumer(), 0.1) == []  # its deadline passes
    await desk.acknowledge([1])
    await desk.pause(False)
    assert await desk.take(Consumer(), 0) == []


async def test_what_a_consumer_leaves_is_for_the_next(store: Store, samples: Any, desk: Desk) -> None:
    await tell(store, samples, 1, 2)
    first, second = Consumer(), Consumer()
    assert seqs(await desk.take(first, QUICK)) == [1, 2]
    assert await desk.take(second, 0) == []
    await desk.acknowledge([1])
    desk.leave(first)
    assert seqs(await desk.take(second, QUICK)) == [2]


async def test_a_restart_delivers_what_was_not_acknowledged_and_nothing_else(tmp_path: Path, samples: Any) -> None:
    async with await Store.open(tmp_path / "db") as store:
        desk = await Subscriptions(store).create("mine", position=0, filters=("type=container.*",))
        await tell(store, samples, 1, 2, 3, 4)
        await desk.take(Consumer(), QUICK)
        await desk.acknowledge([1, 3])
    async with await Store.open(tmp_path / "db") as store:
        desk = await Subscriptions(store).desk("mine")
        assert desk.record.cursor.endswith("-1")
        assert seqs(await desk.take(Consumer(), QUICK)) == [2, 4]


async def test_a_consumer_that_waits_is_woken_by_a_new_event(store: Store, samples: Any, desk: Desk) -> None:
    got: list[int] = []

    async def consume() -> None:
        got.extend(seqs(await desk.take(Consumer(), 60)))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            await tell(store, samples, 1)
    assert got == [1]


async def test_pause_holds_and_resume_wakes(store: Store, samples: Any, desk: Desk) -> None:
    await desk.pause(True)
    await tell(store, samples, 1)
    assert await desk.take(Consumer(), 0) == []
    got: list[int] = []

    async def consume() -> None:
        got.extend(seqs(await desk.take(Consumer(), 60)))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            await desk.pause(False)
    assert got == [1]


async def test_replay_delivers_again_and_old_acknowledgements_do_not_count(
    store: Store, samples: Any, desk: Desk
) -> None:
    await tell(store, samples, 1, 2)
    await desk.take(Consumer(), QUICK)
    await desk.acknowledge([1])
    await desk.replay(0)
    await desk.acknowledge([2])
    assert seqs(await desk.take(Consumer(), QUICK)) == [1, 2]


async def test_one_stuck_subject_bounds_what_is_held(store: Store, samples: Any, desk: Desk) -> None:
    def many(tx: Any) -> None:
        for _ in range(WINDOW + 600):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    assert seqs(await desk.take(Consumer(), QUICK)) == [1]
    assert await desk.take(Consumer(), 0) == []
    assert len(desk._pending) < WINDOW + 300
    await desk.acknowledge([1])
    assert seqs(await desk.take(Consumer(), QUICK)) == [2]


async def test_pruning_is_told_once_and_counted(store: Store, samples: Any, desk: Desk) -> None:
    def many(tx: Any) -> None:
        for _ in range(1500):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    await store.prune(max_age=10**6, max_bytes=1)
    with pytest.raises(Gone):
        await desk.take(Consumer(), QUICK)
    assert desk.record.lost == 1499
    assert seqs(await desk.take(Consumer(), QUICK)) == [1500]


async def test_the_cursor_passes_what_is_not_wanted(store: Store, samples: Any) -> None:
    desk = await Subscriptions(store).create("mine", position=0, filters=("type=network.*",))

    def many(tx: Any) -> None:
        for _ in range(1200):
            tx.append(facts.ContainerStarted(container=samples.container(1)))

    await store.transact(many)
    assert await desk.take(Consumer(), 0) == []
    stored = await store.read(lambda tx: tx.subscription("mine"))
    assert int(stored.cursor.rpartition("-")[2]) > 500


async def test_names_removal_and_ids(store: Store) -> None:
    subscriptions = Subscriptions(store)
    desk = await subscriptions.create("mine", position=0)
    with pytest.raises(Conflict):
        await subscriptions.create("mine", position=0)
    for bad in ("", "../x", "a b", "x" * 64):
        with pytest.raises(UserError):
            await subscriptions.create(bad, position=0)
    with pytest.raises(UserError):
        await subscriptions.create("other", position=0, ack_seconds=0)
    await subscriptions.remove("mine")
    with pytest.raises(NotFound):
        await desk.take(Consumer(), QUICK)
    with pytest.raises(NotFound):
        await subscriptions.remove("mine")
    epochs = store.journal.epochs
    with pytest.raises(UserError):
        parse_ids(["nonsense"], epochs)
    assert parse_ids([epochs.cursor(5), "0" * 32 + "-6"], epochs) == [5]
