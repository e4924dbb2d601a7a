"""The dispatcher's promises across daemons: what one left undone the next delivers, in order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import anyio
import pytest

from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.store.deliveries import Delivery
from hawse.supervisor.store.store import Store
from tests.unit.dispatch.lab import Lab, durable, lab, time_for_the_last_flush, until

__all__ = ["lab", "time_for_the_last_flush"]  # fixtures


async def test_what_was_running_at_a_stop_is_delivered_again(lab):
    begun, got, forever = anyio.Event(), [], True

    async def handle(event, _):
        begun.set()
        if forever:
            await anyio.sleep_forever()
        got.append(event.seq)

    async with lab.running(durable(handle)):
        await lab.happen(1)
        await begun.wait()
    assert await lab.cursor("h") == 0
    assert await lab.hooks() == []  # being stopped is not the handler's failure
    forever = False
    async with lab.running(durable(handle)) as dispatcher:
        await dispatcher.wait_done("h", 1)
    assert got == [1]


async def test_parked_deliveries_survive_a_restart_with_their_count(lab):
    async def sleep_forever(seconds):
        await anyio.sleep_forever()

    patient, lab.sleep = lab.sleep, sleep_forever
    outcomes = []

    async def fail(event, _):
        raise OSError("down")

    async with lab.running(durable(fail, attempts=3)):
        await lab.happen(1, 1, 2)

        async def all_parked():
            return len(await lab.rows()) == 3 and await lab.cursor("h") >= 3

        await until(all_parked)
    lab.sleep = patient

    async def fail_or_work(event, _):
        outcomes.append(event.seq)
        if event.seq == 1:
            raise OSError("still")

    async with lab.running(durable(fail_or_work, attempts=3)) as dispatcher:
        for seq in (1, 2, 3):
            await dispatcher.wait_done("h", seq)
    assert outcomes.count(1) == 2  # one attempt was before the restart
    assert [s for s in outcomes if s != 3] == [1, 1, 2]
    assert [(d.seq, d.attempts) for d in await lab.rows(dead=True)] == [(1, 3)]


async def test_what_was_parked_beyond_the_cursor_comes_after_what_was_not(lab):
    """A failure's row may be written while it is tried again already: who waits behind it then has none, the next has."""
    got = []
    first, second, third = await lab.happen(1, 1, 1)

    def crash(tx):
        tx.put_handler_cursor("h", first)
        tx.put_delivery(Delivery(handler="h", seq=third, subject=f"container/{lab.samples.container(1).id}"))

    await lab.store.transact(crash)

    async def handle(event, _):
        got.append(event.seq)

    async with lab.running(durable(handle)) as dispatcher:
        await dispatcher.wait_done("h", third)
    assert got == [second, third]
    assert await lab.rows() == []


async def test_what_was_parked_is_delivered_though_its_handler_wants_other_events_by_now(lab):
    got = []
    _, second = await lab.happen(1, 1)

    def crash(tx):
        tx.put_handler_cursor("h", 0)
        tx.put_delivery(Delivery(handler="h", seq=second, subject=f"container/{lab.samples.container(1).id}"))

    await lab.store.transact(crash)

    async def handle(event, _):
        got.append(event.seq)

    handler = Handler(name="h", types=("network.*",), mode="durable", handle=handle)
    async with lab.running(handler) as dispatcher:
        await dispatcher.wait_done("h", second)
    assert got == [second]
    assert await lab.rows() == []


async def test_what_was_parked_and_then_pruned_is_a_dead_letter(lab):
    await lab.happen(1, 1, 1)

    def crash(tx):
        tx.put_handler_cursor("hook:h", 0)
        tx.put_delivery(Delivery(handler="hook:h", seq=1, subject=f"container/{lab.samples.container(1).id}"))

    await lab.store.transact(crash)
    await lab.store.prune(max_age=0, max_bytes=0)  # the newest is kept
    lab.store.journal._ring.clear()  # a fresh daemon has none

    async def handle(event, _):
        pass

    async with lab.running(durable(handle, "hook:h")):

        async def letters():
            return len(await lab.rows(dead=True)) == 2

        await until(letters)
    parked, gap = await lab.rows(dead=True)
    assert (parked.seq, gap.seq) == (1, 2)
    assert "the event was pruned" in parked.error
    assert "events 1 to 2 were pruned" in gap.error


async def test_an_orderly_stop_writes_the_cursor(lab):
    async def handle(event, _):
        pass

    async with lab.running(durable(handle)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
    assert await lab.cursor("h") == seq


@pytest.mark.parametrize("seed", range(12))
async def test_storm_of_failures_and_crashes(tmp_path, clock, samples, seed):
    """Every event is handled at least once and in its subject's order, whatever fails and whenever the daemon dies."""
    chance = random.Random(seed)
    done, written = defaultdict(list), defaultdict(list)

    async def handle(event, _):
        for _ in range(chance.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if chance.random() < 0.3:
            raise OSError
        done[event.subject].append(event.seq)

    for _ in range(6):
        async with await Store.open(tmp_path / "s.db", clock) as store:
            lab = Lab(store, clock, samples)
            lab.chance = chance.random
            async with lab.running(durable(handle, attempts=1000, concurrency=3)):
                for _ in range(5):
                    subjects = [chance.randrange(4) for _ in range(4)]
                    for n, seq in zip(subjects, await lab.happen(*subjects), strict=True):
                        written[f"container/{samples.container(n).id}"].append(seq)
                    await asyncio.sleep(chance.random() * 0.004)
                if chance.random() < 0.5:  # a kill: what was not committed by now never is
                    await store._writer.run(lambda c: c.execute("PRAGMA query_only = ON").fetchall())
            await store._writer.run(lambda c: c.execute("PRAGMA query_only = OFF").fetchall())
    async with await Store.open(tmp_path / "s.db", clock) as store:
        lab = Lab(store, clock, samples)
        async with lab.running(durable(handle, attempts=1000, concurrency=3)) as dispatcher:
            for seq in range(1, store.journal.head + 1):
                await dispatcher.wait_done("h", seq)
        newest = max(max(seqs) for seqs in written.values())

        async def all_written():  # what is done is written soon after
            return await lab.rows() == [] and await lab.cursor("h") >= newest

        await until(all_written)
    for subject, seqs in written.items():
        first_times = list(dict.fromkeys(done[subject]))
        assert first_times == seqs
