"""The dispatcher's promises when handlers fail: tried again, in order, nothing forgotten, nobody stopped."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from hawse.supervisor.core.errors import NotFound
from hawse.supervisor.dispatch import courier, ledger
from hawse.supervisor.dispatch.handler import GiveUp, Handler
from hawse.supervisor.store.deliveries import Delivery
from tests.unit.dispatch.lab import durable, lab, time_for_the_last_flush, until

__all__ = ["lab", "time_for_the_last_flush"]  # fixtures


async def test_a_failure_is_tried_again_with_backoff_and_jitter(lab):
    attempts = []
    lab.chance = lambda: 0.5  # three quarters of the full delay

    async def handle(event, _):
        attempts.append(event.seq)
        if len(attempts) < 4:
            raise OSError("not yet")

    async with lab.running(durable(handle, backoff=2.0, backoff_limit=6.0)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)

        async def cleaned():
            return await lab.rows() == [] and await lab.cursor("h") >= 1

        await until(cleaned)
    assert attempts == [1, 1, 1, 1]
    assert lab.slept == pytest.approx([1.5, 3.0, 4.5])
    assert [(kind, n) for kind, _, n, _ in await lab.hooks()] == [("hook.failed", n) for n in (1, 2, 3)]


async def test_what_waits_behind_a_failure_is_parked_and_keeps_its_order(lab):
    """The cursor passes both, so other subjects' events need not be held or delivered twice."""
    got, failing, sleeping, wake = [], True, anyio.Event(), anyio.Event()

    async def sleep(seconds):
        lab.clock.advance(seconds)
        sleeping.set()
        await wake.wait()

    lab.sleep = sleep

    async def handle(event, _):
        if failing and event.seq == 1:
            raise OSError("no")
        got.append(event.seq)

    async with lab.running(durable(handle)) as dispatcher:
        await lab.happen(1)
        await sleeping.wait()
        second, other, third = await lab.happen(1, 2, 1)
        await dispatcher.wait_done("h", other)

        async def passed():
            return await lab.cursor("h") >= third

        await until(passed)
        parked = await lab.rows()
        assert [(d.seq, d.attempts, d.error) for d in parked] == [
            (1, 1, "OSError: no"),
            (second, 0, ""),
            (third, 0, ""),
        ]
        assert parked[0].next_at > 0
        assert got == [other]
        failing = False
        wake.set()
        await dispatcher.wait_done("h", third)

        async def cleaned():
            return await lab.rows() == []

        await until(cleaned)
    assert got == [other, 1, second, third]


async def test_a_long_queue_behind_a_failure_leaves_room_for_the_others(lab, monkeypatch):
    monkeypatch.setattr(ledger, "WINDOW", 4)
    got = []

    async def sleep(seconds):
        await anyio.sleep_forever()

    lab.sleep = sleep

    async def handle(event, _):
        if event.subject.endswith(lab.samples.container(1).id):
            raise OSError
        got.append(event.seq)

    async with lab.running(durable(handle, builtin=True)) as dispatcher:
        await lab.happen(*[1] * 10)
        (last,) = await lab.happen(2)
        await dispatcher.wait_done("h", last)
    assert got == [11]
    assert [d.seq for d in await lab.rows()] == list(range(1, 11))


async def test_what_is_done_while_it_is_being_parked_leaves_no_row(lab):
    """The race: the flush that parks the second is still under way when the first succeeds and the second is done."""
    go_on, got = threading.Event(), []

    def hold(tx):
        assert go_on.wait(60)

    async with anyio.create_task_group() as tasks:

        async def sleep(seconds):  # called right after the failure was written, before anything is flushed
            tasks.start_soon(lab.store.transact, hold)
            await anyio.lowlevel.checkpoint()

        lab.sleep = sleep

        async def handle(event, _):
            if not lab_failed:
                lab_failed.append(event.seq)
                raise OSError
            got.append(event.seq)

        lab_failed: list[int] = []
        async with lab.running(durable(handle, builtin=True)) as dispatcher:
            first, second = await lab.happen(1, 1)
            await dispatcher.wait_done("h", first)
            await dispatcher.wait_done("h", second)
            go_on.set()

            async def written():
                return await lab.cursor("h") >= second and await lab.rows() == []

            await until(written)
    assert got == [first, second]


async def test_a_failure_that_is_written_before_the_row_of_waiting_is_stays_written(lab):
    """The race: a slow flush, begun when the event still waited behind a failure, comes after the event's own failure."""
    (seq,) = await lab.happen(1)
    books = ledger.Ledger("h", lab.store)
    await books.load(0)
    event = await lab.store.read(lambda tx: tx.event(seq))
    job = books.take(event)
    books.passed(seq)
    books.park_behind(job)
    letter = Delivery(handler="h", seq=seq, subject=event.subject, attempts=3, error="ValueError", dead=True)
    await lab.store.transact(lambda tx: tx.put_delivery(letter))
    await books.flush_last()
    assert await lab.rows() == [letter]


async def test_a_stop_that_interrupts_the_row_of_waiting_leaves_none_of_what_is_done(lab):
    """A cancelled write may be committed all the same."""
    committed = anyio.Event()
    (seq,) = await lab.happen(1)
    books = ledger.Ledger("h", lab.store)
    await books.load(0)
    event = await lab.store.read(lambda tx: tx.event(seq))
    job = books.take(event)
    books.passed(seq)
    books.park_behind(job)
    commit = lab.store.transact

    async def commit_then_be_cancelled(fn):
        await commit(fn)
        committed.set()
        await anyio.sleep_forever()

    lab.store.transact = commit_then_be_cancelled
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(books.keep_flushing, lab.sleep)
        await committed.wait()
        job.done = True
        books.finish(job)
        tasks.cancel_scope.cancel()
    lab.store.transact = commit
    await books.flush_last()
    assert await lab.rows() == []


async def test_after_the_last_attempt_it_is_a_dead_letter_and_the_next_goes_on(lab):
    got = []

    async def handle(event, _):
        if event.seq == 1:
            raise ValueError("never")
        got.append(event.seq)

    async with lab.running(durable(handle, attempts=3)) as dispatcher:
        first, second = await lab.happen(1, 1)
        await dispatcher.wait_done("h", first)
        await dispatcher.wait_done("h", second)
        (dead,) = await lab.rows(dead=True)
        assert (dead.seq, dead.attempts, dead.error) == (1, 3, "ValueError: never")
        assert got == [2]
    hooks = await lab.hooks()
    assert [(kind, n) for kind, _, n, _ in hooks] == [("hook.failed", 1), ("hook.failed", 2), ("hook.dead", 3)]
    (event,) = await lab.store.read(lambda tx: tx.events(types=["hook.dead"]))
    assert event.cause == event.fact.event == lab.store.journal.epochs.cursor(1)


async def test_a_handler_can_give_up_at_once(lab):
    async def handle(event, _):
        raise GiveUp("permanent")

    async with lab.running(durable(handle)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
    assert lab.slept == []
    assert [(d.attempts, d.dead, d.error) for d in await lab.rows()] == [(1, True, "GiveUp: permanent")]


async def test_a_built_in_handlers_single_failures_are_not_events_but_its_giving_up_is(lab):
    async def handle(event, _):
        raise OSError

    async with lab.running(durable(handle, attempts=2, builtin=True)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
    assert await lab.hooks() == [("hook.dead", "h", 2, "OSError")]


async def test_a_handler_that_hangs_is_cancelled_and_has_failed(lab):
    async def handle(event, _):
        await anyio.sleep_forever()

    async with lab.running(durable(handle, deadline=0.01, attempts=2)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
    assert [d.error for d in await lab.rows(dead=True)] == ["no end in 0.01 s"]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (asyncio.CancelledError(), "it cancelled itself"),
        (TimeoutError("mine"), "TimeoutError: mine"),
        (ExceptionGroup("many", [OSError("a")]), "ExceptionGroup: many (1 sub-exception)"),
        (AssertionError(), "AssertionError"),
        (ValueError("x" * 9000), f"ValueError: {'x' * 9000}"[: courier.ERROR_LENGTH]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_nothing_that_a_handler_raises_stops_the_dispatcher(lab, raised, said):
    async def handle(event, _):
        if event.seq == 1:
            raise raised

    async with lab.running(durable(handle, attempts=1)) as dispatcher:
        for seq in await lab.happen(1, 1, 2):
            await dispatcher.wait_done("h", seq)
    assert [d.error for d in await lab.rows(dead=True)] == [said]


async def test_handlers_that_fail_on_each_others_failures_come_to_an_end(lab):
    """Failures of hook events are kept in the deliveries, never journalled: else two such handlers feed each other."""
    runs = []

    def failing(name):
        async def handle(event, _):
            runs.append((name, event.subject))
            assert len(runs) < 100
            raise OSError

        return Handler(name=name, types=("*",), mode="durable", handle=handle, attempts=2)

    greedy = [failing("a"), failing("b")]
    async with lab.running(*greedy) as dispatcher:
        await lab.happen(1)
        await until(lambda: asyncio.sleep(0, dispatcher.lag() == {"a": 0, "b": 0}))
    assert await lab.rows(dead=False) == []
    assert {name for _, name, _, _ in await lab.hooks()} == {"a", "b"}
    assert ("a", "hook/b") in runs
    assert ("a", "hook/a") not in runs  # nobody is told of its own runs
    assert len(await lab.hooks()) == 4  # each: failed once, then dead, for the container's event alone


async def test_a_dead_letter_can_be_delivered_again(lab):
    broken, got = True, []

    async def handle(event, _):
        if broken:
            raise GiveUp
        got.append(event.seq)

    async with lab.running(durable(handle)) as dispatcher:
        (seq,) = await lab.happen(1)
        await dispatcher.wait_done("h", seq)
        with pytest.raises(NotFound):
            await dispatcher.retry("h", seq + 1)
        broken = False
        await dispatcher.retry("h", seq)
        await dispatcher.wait_done("h", seq)

        async def cleaned():
            return await lab.rows() == []

        await until(cleaned)
    assert got == [seq]


async def test_a_store_that_cannot_be_written_delays_but_loses_nothing(lab):
    async def read_only(value):
        await lab.store._writer.run(lambda c: c.execute(f"PRAGMA query_only = {value}").fetchall())

    attempts = []
    complained = anyio.Event()

    async def sleep(seconds):
        lab.clock.advance(seconds)
        complained.set()
        await asyncio.sleep(0.001)

    lab.sleep = sleep

    async def handle(event, _):
        attempts.append(event.seq)
        if len(attempts) < 3:
            raise OSError("first")

    async with lab.running(durable(handle)) as dispatcher:
        (seq,) = await lab.happen(1)
        await read_only(1)
        await complained.wait()
        await read_only(0)
        await dispatcher.wait_done("h", seq)

        async def written():
            return await lab.cursor("h") >= 1 and await lab.rows() == []

        await until(written)
    assert len(attempts) >= 3


async def test_a_handler_that_fails_for_as_long_as_events_are_kept_is_told_of_the_gap(lab):
    """Tried again for ever, it does not hold back pruning, and neither loops nor stays silent about what it missed."""
    down = True

    async def post(event, _):
        if down:
            raise OSError("down")
        got.append(event.seq)

    async def letters():
        return [letter for letter in await lab.rows(handler="hook:h", dead=True) if letter.seq == first]

    got = []
    hook = durable(post, "hook:h", attempts=1_000_000, backoff=0.001)
    async with lab.running(hook):
        (first,) = await lab.happen(1)
        await until(lambda: lab.rows(handler="hook:h"))
        await lab.happen(2)
        await lab.store.prune(max_age=0, max_bytes=0)
        await until(letters)  # the other containers' lanes may be told sooner
    (letter,) = await letters()
    assert "for as long as events are kept" in letter.error
    await lab.happen(3, 3, 3)  # while nobody runs
    await lab.store.prune(max_age=0, max_bytes=0)
    lab.store.journal._ring.clear()  # a fresh daemon has none
    down = False
    async with lab.running(hook) as dispatcher:
        (new,) = await lab.happen(4)
        await dispatcher.wait_done("hook:h", new)
    assert got[-1] == new
    assert any("were pruned before they were handled" in d.error for d in await lab.rows(handler="hook:h", dead=True))
