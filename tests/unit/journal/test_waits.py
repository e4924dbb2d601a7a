from __future__ import annotations

import anyio

from hawse.supervisor.core.events import DaemonStarted, Event
from hawse.supervisor.journal.waits import Waits


def event(seq: int) -> Event:
    return Event(epoch="e", seq=seq, time=seq, fact=DaemonStarted(version="1", pid=seq))


async def test_an_event_told_inside_the_block_is_caught() -> None:
    waits = Waits(lambda: 7)
    with waits.expect("daemon", "daemon.started") as expectation:
        waits.told(event(8))
        caught = await expectation.wait(timeout=60)
    assert caught is not None and caught.seq == 8


async def test_an_event_that_was_committed_before_does_not_count() -> None:
    """The committer may tell of it a moment later than somebody begins to wait for the next one."""
    waits = Waits(lambda: 8)
    with waits.expect("daemon", "daemon.started") as expectation:
        waits.told(event(8))
        assert await expectation.wait(timeout=0) is None


async def test_other_types_and_subjects_do_not_count_and_the_first_one_stays() -> None:
    waits = Waits(lambda: 0)
    with waits.expect("daemon", "daemon.recovered") as other, waits.expect("daemon", "daemon.started") as mine:
        waits.told(event(1))
        waits.told(event(2))
        assert await other.wait(timeout=0) is None
        caught = await mine.wait(timeout=60)
    assert caught is not None and caught.seq == 1


async def test_waiting_wakes_when_told_later() -> None:
    waits = Waits(lambda: 0)
    with waits.expect("daemon", "daemon.started") as expectation:
        async with anyio.create_task_group() as group:
            group.start_soon(expectation.wait, 60)
            await anyio.lowlevel.checkpoint()
            waits.told(event(3))


async def test_nothing_is_kept_after_the_block() -> None:
    waits = Waits(lambda: 0)
    with waits.expect("daemon", "daemon.started") as expectation:
        pass
    waits.told(event(1))
    assert await expectation.wait(timeout=0) is None
