"""The dispatcher's promises when all goes well: each event once, in order per subject, nobody waiting for another."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, Gone, NotFound
from hawse.supervisor.dispatch import ledger
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from tests.unit.dispatch.lab import CONTEXT, DEADLINE, durable, lab, time_for_the_last_flush, until

__all__ = ["lab", "time_for_the_last_flush"]  # fixtures


async def test_a_handler_gets_what_it_wants_with_its_context(lab):
    got = []

    async def handle(event, context):
        got.append((event.seq, context))

    async with lab.running(durable(handle)) as dispatcher:
        await lab.store.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=1)))
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
        await until(lambda: asyncio.sleep(0, dispatcher.lag() == {"h": 0}))
    assert got == [(2, CONTEXT)]
    assert await lab.cursor("h") == 2


async def test_one_subject_is_in_order_and_others_do_not_wait_for_it(lab):
    got, go_on = [], anyio.Event()

    async def handle(event, _):
        if event.seq == 1:
            await go_on.wait()
        got.append(event.seq)

    async with lab.running(durable(handle)) as dispatcher:
        seqs = await lab.happen(1, 2, 1, 3, 1)
        await dispatcher.wait_done("h", seqs[1])
        await dispatcher.wait_done("h", seqs[3])
        assert got == [2, 4]
        assert await lab.cursor("h") == 0  # the first is not done: a crash now must deliver all of them again
        go_on.set()
        await dispatcher.wait_done("h", seqs[4])
    assert got == [2, 4, 1, 3, 5]
    assert await lab.cursor("h") == 5


async def test_concurrency_is_bounded(lab):
    running = peak = 0
    three = anyio.Event()

    async def handle(event, _):
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        if running == 3:
            three.set()
        await three.wait()
        await asyncio.sleep(0.001)
        running -= 1

    async with lab.running(durable(handle, concurrency=3)) as dispatcher:
        for seq in await lab.happen(*range(20)):
            await dispatcher.wait_done("h", seq)
    assert peak == 3


async def test_handlers_have_cursors_of_their_own(lab):
    got = defaultdict(list)
    stuck = anyio.Event()

    async def quick(event, _):
        got["quick"].append(event.seq)

    async def slow(event, _):
        await stuck.wait()

    async with lab.running(durable(quick, "quick"), durable(slow, "slow")) as dispatcher:
        for seq in await lab.happen(1, 2):
            await dispatcher.wait_done("quick", seq)
        await until(lambda: asyncio.sleep(0, dispatcher.lag() == {"quick": 0, "slow": 2}))
    assert got["quick"] == [1, 2]
    assert (await lab.cursor("quick"), await lab.cursor("slow")) == (2, 0)


async def test_events_from_before_the_dispatcher_was_made_are_not_a_new_handlers(lab):
    await lab.happen(1)
    got = []

    async def handle(event, _):
        got.append(event.seq)

    dispatcher = Dispatcher(lab.store, [durable(handle)], CONTEXT)
    (second,) = await lab.happen(1)  # between making and running it: recovery does that
    async with anyio.create_task_group() as tasks:
        await tasks.start(dispatcher.run)
        await dispatcher.wait_done("h", second)
        tasks.cancel_scope.cancel()
    assert got == [2]


async def test_unwanted_events_move_the_cursor_lazily_but_they_do(lab, monkeypatch):
    """Else pruning would wait for a handler that has nothing to do."""
    monkeypatch.setattr(ledger, "LAZY", 10)

    async def handle(event, _):
        raise AssertionError

    async with lab.running(durable(handle)):
        for n in range(25):
            await lab.store.transact(lambda tx, n=n: tx.append(events.DaemonStarted(version="1", pid=n)))

        async def moved():
            return (await lab.cursor("h")) >= 10

        await until(moved)


async def test_a_full_window_stops_the_reading_not_the_handler(lab, monkeypatch):
    monkeypatch.setattr(ledger, "WINDOW", 4)
    got, go_on = [], anyio.Event()

    async def handle(event, _):
        await go_on.wait()
        got.append(event.seq)

    async with lab.running(durable(handle)) as dispatcher:
        await lab.happen(*range(20))
        book = dispatcher._couriers["h"].ledger
        await until(lambda: asyncio.sleep(0, len(book._open) == 4))
        await asyncio.sleep(0.01)
        assert len(book._open) == 4
        go_on.set()
        await dispatcher.wait_done("h", 20)
        await until(lambda: asyncio.sleep(0, len(got) == 20))
    assert sorted(got) == list(range(1, 21))


# waiting, adding, removing


async def test_waiting_for_what_the_handler_does_not_want_ends_when_it_has_seen_it(lab):
    async def handle(event, _):
        raise AssertionError

    async with lab.running(durable(handle)) as dispatcher:
        event = await lab.store.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=1)))
        await dispatcher.wait_done("h", event.seq)


async def test_waiting_may_begin_before_the_event_and_before_the_dispatcher_runs(lab):
    async def handle(event, _):
        pass

    dispatcher = Dispatcher(lab.store, [durable(handle)], CONTEXT)
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.wait_done, "h", 1)
            await asyncio.sleep(0)
            await lab.happen(1)
            async with anyio.create_task_group() as inner:
                inner.start_soon(dispatcher.run)
                await dispatcher.wait_done("h", 1)
                inner.cancel_scope.cancel()


async def test_waiting_for_nobody_is_an_error(lab):
    dispatcher = Dispatcher(lab.store, [], CONTEXT)
    with pytest.raises(NotFound, match="no durable handler named h"):
        await dispatcher.wait_done("h", 1)


async def test_a_handler_added_at_run_time_begins_where_it_is_told(lab):
    got = defaultdict(list)

    def collect(name):
        async def handle(event, _):
            got[name].append(event.seq)

        return durable(handle, name)

    seqs = await lab.happen(1, 2, 3)
    async with lab.running() as dispatcher:
        await dispatcher.add(collect("new"))
        await dispatcher.add(collect("second"), lab.store.journal.epochs.cursor(seqs[0]))
        await dispatcher.add(collect("all"), "")
        (last,) = await lab.happen(1)
        for name in ("new", "second", "all"):
            await dispatcher.wait_done(name, last)
            await until(lambda: asyncio.sleep(0, not any(dispatcher.lag().values())))
        with pytest.raises(Conflict, match="already is a handler named new"):
            await dispatcher.add(collect("new"))
        with pytest.raises(Gone):
            await dispatcher.add(collect("bad"), f"{'0' * 32}-1")
    assert {name: sorted(seqs) for name, seqs in got.items()} == {"new": [4], "second": [2, 3, 4], "all": [1, 2, 3, 4]}


async def test_a_removed_handler_is_forgotten_or_goes_on_later(lab):
    got, begun = [], anyio.Event()

    async def hang(event, _):
        begun.set()
        await anyio.sleep_forever()

    async def collect(event, _):
        got.append(event.seq)

    async with lab.running() as dispatcher:
        await dispatcher.add(durable(hang))
        (seq,) = await lab.happen(1)
        await begun.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.wait_done, "h", seq)
            await asyncio.sleep(0)
            await dispatcher.remove("h", forget=False)
        await dispatcher.add(durable(collect))
        await dispatcher.wait_done("h", seq)
        assert got == [seq]
        await dispatcher.remove("h")
        await dispatcher.remove("h")
        assert await lab.cursor("h") is None


async def test_handlers_that_nobody_registered_are_named(lab):
    async def handle(event, _):
        pass

    async with lab.running(durable(handle, "old"), durable(handle, "kept")):
        pass
    async with lab.running(durable(handle, "kept")) as dispatcher:
        assert await dispatcher.orphans() == ["old"]
        await dispatcher.remove("old")
        assert await dispatcher.orphans() == []
