"""What a container that removes itself holds is waited for by who wants it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict
from hawse.supervisor.core.model import ContainerConfig, Exit, State
from hawse.supervisor.journal.waits import Waits
from hawse.supervisor.lifecycle import leaving


@pytest.fixture
async def world(store, samples):
    """A store, and people who are told of what is committed to it."""
    waits = Waits(lambda: store.journal.head)

    async def tell():
        async for event in store.journal.follow_seq(0):
            waits.told(event)

    task = asyncio.create_task(tell())
    yield SimpleNamespace(store=store, waits=waits)
    task.cancel()


@pytest.fixture
def holder(samples):
    config = ContainerConfig(image="busybox", cmd=("true",), auto_remove=True)
    return samples.container(1, config=config, state=State.EXITED, exit=Exit(code=0))


def want(tx):
    if tx.containers():
        raise Conflict("in use")
    return "mine"


def everybody(tx):
    return tx.containers()


async def remove(parts, holder):
    def removed(tx):
        tx.delete_container(holder.id)
        tx.append(events.ContainerRemoved(container=holder))

    await parts.store.transact(removed)


async def test_it_is_waited_for(world, holder):
    await world.store.transact(lambda tx: tx.put(holder))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remove, world, holder)
        assert await leaving.transact(world, want, everybody) == "mine"


async def test_that_it_is_gone_a_moment_after_it_was_in_the_way_is_as_good(world, holder):
    await world.store.transact(lambda tx: tx.put(holder))
    commit = world.store.transact

    async def then_it_goes(work):
        world.store.transact = commit
        try:
            return await commit(work)
        finally:
            await remove(world, holder)

    world.store.transact = then_it_goes
    assert await leaving.transact(world, want, everybody) == "mine"


@pytest.mark.parametrize(
    "change", [{"state": State.RUNNING, "exit": None}, {"config": ContainerConfig(image="busybox")}]
)
async def test_one_that_stays_is_a_conflict(world, samples, holder, change):
    container = samples.container(1, **{"config": holder.config, "state": holder.state, "exit": holder.exit, **change})
    await world.store.transact(lambda tx: tx.put(container))
    with pytest.raises(Conflict):
        await leaving.transact(world, want, everybody)


async def test_one_that_cannot_be_removed_is_not_waited_for_for_ever(world, holder, monkeypatch):
    monkeypatch.setattr(leaving, "DEADLINE", 0.01)
    await world.store.transact(lambda tx: tx.put(holder))
    with pytest.raises(Conflict):
        await leaving.transact(world, want, everybody)
