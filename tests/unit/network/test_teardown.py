"""Every step of a teardown runs; what failed comes together, as one of our errors."""

from __future__ import annotations

import asyncio
import errno

import anyio
import pytest

from hawse.supervisor.core.errors import Conflict, HawseError, KernelError, TeardownError
from hawse.supervisor.network.teardown import Teardown, undone

FAULT = KernelError("unplug", errno.EIO)


async def fail(error: Exception = FAULT) -> None:
    raise error


async def fine() -> None: ...


async def test_each_step_runs_and_one_group_says_what_failed() -> None:
    teardown, broken = Teardown("unplug web"), OSError(errno.EBUSY, "busy")
    assert not await teardown.step(fail)
    assert await teardown.step(fine)
    assert not await teardown.step(fail, broken)
    with pytest.raises(TeardownError) as raised:
        teardown.end()
    assert raised.value.exceptions == (FAULT, broken)
    assert isinstance(raised.value, HawseError)
    assert str(raised.value) == "unplug web: unplug: Input/output error (EIO); [Errno 16] busy"


async def test_a_teardown_in_a_teardown_is_told_as_one() -> None:
    inner, outer = Teardown("inner"), Teardown("outer")
    await inner.step(fail)
    await inner.step(fail)
    assert inner.error
    await outer.step(fail, inner.error)
    assert outer.error and outer.error.exceptions == (FAULT, FAULT)


async def test_nothing_failed() -> None:
    teardown = Teardown("unplug web")
    await teardown.step(fine)
    teardown.end()


async def test_steps_side_by_side() -> None:
    teardown, pulled = Teardown("unplug web"), anyio.Event()

    async def slowly() -> None:
        await anyio.sleep(0.01)
        pulled.set()

    async with anyio.create_task_group() as group:
        group.start_soon(teardown.step, fail)
        await teardown.step(slowly)
    assert pulled.is_set(), "a step that fails cancelled another"
    assert teardown.error


async def test_a_cancellation_ends_it() -> None:
    teardown = Teardown("unplug web")
    with anyio.move_on_after(0.01) as scope:
        await teardown.step(anyio.sleep_forever)
        raise AssertionError("went on")
    assert scope.cancelled_caught and teardown.error is None


async def test_why_it_was_undone_comes_first() -> None:
    cause = Conflict("taken")
    assert await undone(cause, "plug", fine) is None
    both = await undone(ExceptionGroup("tasks", [cause]), "plug", fail)
    assert both and both.exceptions == (cause, FAULT)


async def test_a_cancelled_one_stays_cancelled() -> None:
    assert await undone(asyncio.CancelledError(), "plug", fail) is None
