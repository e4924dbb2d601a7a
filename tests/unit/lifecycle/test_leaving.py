"""What a container that removes itself holds is waited for by who wants it."""

from __future__ import annotations

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict
from hawse.supervisor.core.model import ContainerConfig, Exit, State
from hawse.supervisor.lifecycle import leaving


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


async def test_it_is_waited_for(parts, holder):
    await parts.store.transact(lambda tx: tx.put(holder))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remove, parts, holder)
        assert await leaving.transact(parts, want, everybody) == "mine"


async def test_that_it_is_gone_a_moment_after_it_was_in_the_way_is_as_good(parts, holder, monkeypatch):
    await parts.store.transact(lambda tx: tx.put(holder))
    commit = parts.store.transact

    async def then_it_goes(work):
        monkeypatch.undo()
        try:
            return await commit(work)
        finally:
            await remove(parts, holder)

    monkeypatch.setattr(parts.store, "transact", then_it_goes)
    assert await leaving.transact(parts, want, everybody) == "mine"


@pytest.mark.parametrize(
    "change", [{"state": State.RUNNING, "exit": None}, {"config": ContainerConfig(image="busybox")}]
)
async def test_one_that_stays_is_a_conflict(parts, samples, holder, change):
    container = samples.container(1, **{"config": holder.config, "state": holder.state, "exit": holder.exit, **change})
    await parts.store.transact(lambda tx: tx.put(container))
    with pytest.raises(Conflict):
        await leaving.transact(parts, want, everybody)


async def test_one_that_cannot_be_removed_is_not_waited_for_for_ever(parts, holder, monkeypatch):
    monkeypatch.setattr(leaving, "DEADLINE", 0.01)
    await parts.store.transact(lambda tx: tx.put(holder))
    with pytest.raises(Conflict):
        await leaving.transact(parts, want, everybody)
