"""To which run of a container an attached client belongs: the one that it saw, or the next."""

from __future__ import annotations

import socket

import pytest
from msgspec.structs import replace

from hawse.supervisor.core.errors import Conflict, NotFound
from hawse.supervisor.core.model import State
from hawse.supervisor.runtime.client import AttachOptions


class Run:
    """A shim that notes who was handed to it."""

    def __init__(self, has_ended: bool = False) -> None:
        self.has_ended = has_ended
        self.clients: list[bytes] = []

    async def attach(self, fd, prefix, options):
        self.clients.append(prefix)


class World:
    """A client of a container that it has seen."""

    def __init__(self, engine, container, shim) -> None:
        self.engine, self.seen = engine, container
        self.attachments = engine.parts.live.attachments
        if shim is not None:
            engine.parts.live.shims[container.id] = shim

    async def attach(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await self.engine.attach(self.seen, theirs.fileno(), b"client", AttachOptions())

    async def next_run(self):
        """The clients that the next run gets."""
        run = Run()
        await self.attachments.hand_over(self.seen.id, run)
        return run.clients


@pytest.fixture
def world(engine, samples):
    async def make(seen, shim, state="as seen"):
        """`state`: what it is in when it is looked at again; None when it is gone."""
        container = replace(samples.container(1), state=seen)
        if state is not None:
            now = container if state == "as seen" else replace(container, state=state)
            await engine.store.transact(lambda tx: tx.put(now))
        return World(engine, container, shim)

    return make


@pytest.mark.parametrize("seen", [State.CREATED, State.EXITED, State.RESTARTING])
async def test_who_saw_it_not_running_waits_for_the_next_run(world, seen):
    here = await world(seen, None)
    await here.attach()
    assert await here.next_run() == [b"client"]


async def test_who_has_heard_of_the_exit_waits_for_the_next_run_though_the_last_ones_shim_is_still_there(world):
    last = Run(has_ended=True)
    here = await world(State.EXITED, last)
    await here.attach()
    assert last.clients == []
    assert await here.next_run() == [b"client"]


@pytest.mark.parametrize("has_ended", [False, True])
async def test_who_saw_it_running_belongs_to_that_run_to_its_end(world, has_ended):
    run = Run(has_ended)
    here = await world(State.RUNNING, run)
    await here.attach()
    assert run.clients == [b"client"]
    assert await here.next_run() == []


async def test_who_saw_it_running_does_not_wait_for_another_run(world):
    here = await world(State.RUNNING, None, State.EXITED)
    await here.attach()
    assert await here.next_run() == []


@pytest.mark.parametrize("seen", [State.STARTING, State.EXITED])
async def test_a_start_that_is_under_way_takes_the_client_along(world, seen):
    run = Run()
    here = await world(seen, run, State.STARTING)
    await here.attach()
    assert run.clients == [b"client"]
    assert await here.next_run() == []


@pytest.mark.parametrize(("state", "error"), [(None, NotFound), (State.REMOVING, Conflict)])
async def test_who_waits_for_what_is_being_removed_is_told(world, state, error):
    here = await world(State.EXITED, None, state)
    with pytest.raises(error):
        await here.attach()
    assert await here.next_run() == []
