"""The restart policies' decisions: who is started again, after how long, and what calls a restart off."""

from __future__ import annotations

from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hawse.handlers import restart
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import NotModified, StartError
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    Exit,
    RestartPolicy,
    State,
    Verb,
    Wish,
)
from hawse.supervisor.engine import Engine
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.parts import Context, Parts
from tests.unit.conftest import Clock, Samples

SECOND = 1_000_000_000


def ended(
    policy: str, code: int = 1, *, retries: int = 0, count: int = 0, stopped: bool = False, reason: str = ""
) -> Container:
    return Samples().container(
        config=ContainerConfig(image="x", cmd=("x",), restart=RestartPolicy(name=policy, max_retries=retries)),
        state=State.EXITED,
        started_at=1,
        finished_at=2,
        exit=Exit(code=code, reason=reason),
        restart_count=count,
        wish=Wish(verb=Verb.STOP) if stopped else None,
    )


@pytest.mark.parametrize(
    ("container", "again"),
    [
        (ended("no"), False),
        (ended("always", 0), True),
        (ended("always", 0, stopped=True), False),
        (ended("unless-stopped", 0), True),
        (ended("unless-stopped", stopped=True), False),
        (ended("on-failure", 0), False),
        (ended("on-failure", 1), True),
        (ended("on-failure", 137, stopped=True), False),
        (ended("on-failure", reason=machine.REBOOTED), False),
        (ended("unless-stopped", reason=machine.REBOOTED), True),
        (ended("on-failure", retries=2, count=1), True),
        (ended("on-failure", retries=2, count=2), False),
    ],
)
def test_who_is_started_again(container: Container, again: bool) -> None:
    assert restart.wants_restart(container) is again


@pytest.mark.parametrize(
    ("count", "milliseconds"),
    [(0, 100), (1, 200), (2, 400), (3, 800), (5, 3200), (9, 51_200), (10, 60_000), (11, 60_000), (10**6, 60_000)],
)
def test_the_back_off_table(count: int, milliseconds: int) -> None:
    assert restart.delay(ended("always", count=count), ran_ns=0) == milliseconds * 1_000_000


@given(count=st.integers(0, 10**9), ran=st.integers(10 * SECOND, 10**18))
def test_a_settled_run_begins_anew(count: int, ran: int) -> None:
    assert restart.delay(ended("always", count=count), ran) == 100_000_000


class Counting:
    """Counts starts; `error` is what they fail with."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.error: Exception | None = None

    async def start(self, ref: str, *, by_policy: bool) -> None:
        assert by_policy, "a user may call it off until the container's lock is held"
        self.started.append(ref)
        if self.error:
            raise self.error


class World:
    """The daemon's parts, and an engine that only counts."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self.store, self.clock, self.engine = parts.store, clock, Counting()
        self.context = Context(parts=parts, engine=cast(Engine, self.engine))

    async def put(self, container: Container) -> None:
        await self.store.transact(lambda tx: tx.put(container))

    async def get(self, container: Container) -> Container:
        found = await self.store.read(lambda tx: tx.container(container.id))
        assert found is not None
        return found

    async def append(self, fact: events.Fact) -> Event:
        return await self.store.transact(lambda tx: tx.append(fact))

    async def step(self, container: Container, stimulus: machine.Stimulus) -> Container:
        return await self.store.transact(lambda tx: move(tx, container, stimulus, self.clock()))

    async def last(self, type_: str) -> Event:
        (event,) = await self.store.read(lambda tx: tx.last_events("", type_, limit=1))
        return event


@pytest.fixture
def world(parts: Parts, clock: Clock) -> World:
    return World(parts, clock)


async def test_an_exit_is_answered_once(world: World) -> None:
    container = ended("always")
    await world.put(container)
    exited = await world.append(events.ContainerExited(container=container, endpoints=(), exit=Exit(code=1), ran_ns=1))
    for _ in range(2):  # at least once is what a durable handler is told
        await restart.schedule(exited, world.context)
    assert (await world.get(container)).state is State.RESTARTING
    told = await world.store.read(lambda tx: tx.last_events("", "container.restarting"))
    assert [event.fact.delay_ns for event in told] == [100_000_000]  # type: ignore[union-attr]


async def test_a_user_s_own_failed_start_is_not_repeated(world: World) -> None:
    container = ended("always")
    await world.put(container)
    failed = await world.append(events.ContainerStartFailed(container=container, stage="exec", error="no such file"))
    await restart.schedule(failed, world.context)
    assert (await world.get(container)).state is State.EXITED


async def test_an_attempt_that_is_refused_is_tried_again_later(world: World) -> None:
    """A port taken meanwhile: nothing was begun, the container still waits."""
    container = ended("on-failure", retries=2)
    await world.put(container)
    waiting = await world.step(container, machine.RestartScheduled(delay_ns=0))
    for count in (1, 2):
        refused = await world.append(events.ContainerStartFailed(container=waiting, stage="claim", error="port taken"))
        await restart.schedule(refused, world.context)
        waiting = await world.get(container)
        assert (waiting.state, waiting.restart_count) == (State.RESTARTING, count)


async def test_the_start_comes_when_it_is_due(world: World) -> None:
    container = ended("always")
    await world.put(container)
    await world.step(container, machine.RestartScheduled(delay_ns=SECOND))
    world.clock.advance(2)
    await restart.start(await world.last("container.restarting"), world.context)
    assert world.engine.started == [container.id]
    world.engine.error = StartError("no such file", stage="exec")
    await restart.start(await world.last("container.restarting"), world.context)  # its failure is the journal's


async def test_what_a_user_stopped_meanwhile_stays_stopped(world: World) -> None:
    container = ended("always")
    await world.put(container)
    waiting = await world.step(container, machine.RestartScheduled(delay_ns=0))
    await world.step(waiting, machine.RestartCancelled())
    await restart.start(await world.last("container.restarting"), world.context)
    assert world.engine.started == []


async def test_what_a_user_stops_at_the_last_moment_stays_stopped(world: World, engine: Engine) -> None:
    """The handler has seen that it is due, and waits for the container's lock while the stop has it."""
    container = ended("unless-stopped", stopped=True)
    await world.put(container)
    with pytest.raises(NotModified):
        await engine.start(container.id, by_policy=True)
    assert await world.get(container) == container


async def test_a_start_by_hand_ends_the_wait_at_once(world: World) -> None:
    """Else the next restart would wait behind a sleep of up to a minute."""
    container = ended("always")
    await world.put(container)
    waiting = await world.step(container, machine.RestartScheduled(delay_ns=60 * SECOND))
    event = await world.last("container.restarting")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(restart.start, event, world.context)
            await anyio.wait_all_tasks_blocked()
            while not world.context.parts.live.waits._waiting:
                await anyio.sleep(0.001)
            running = replace(waiting, state=State.RUNNING)
            await world.append(events.ContainerStarted(container=running, endpoints=()))
    assert world.engine.started == []


async def test_an_older_restart_is_overtaken_by_a_newer(world: World) -> None:
    container = ended("always")
    await world.put(container)
    waiting = await world.step(container, machine.RestartScheduled(delay_ns=0))
    old = await world.last("container.restarting")
    await world.step(waiting, machine.RestartScheduled(delay_ns=60 * SECOND))
    await restart.start(old, world.context)
    assert world.engine.started == []


@pytest.mark.parametrize(
    ("policy", "stopped", "state"),
    [
        ("always", True, State.RESTARTING),
        ("always", False, State.EXITED),  # its exit is in the journal, and `schedule` answers that
        ("unless-stopped", True, State.EXITED),
        ("on-failure", True, State.EXITED),
        ("no", True, State.EXITED),
    ],
)
async def test_what_a_new_daemon_starts(world: World, policy: str, stopped: bool, state: State) -> None:
    container = ended(policy, stopped=stopped)
    await world.put(container)
    await restart.resume(await world.append(events.DaemonRecovered()), world.context)
    assert (await world.get(container)).state is state


async def test_what_was_stopped_since_it_came_up_stays_stopped(world: World) -> None:
    """A stop that the last daemon died under is carried through by this one, maybe before `resume` is told."""
    recovered = await world.append(events.DaemonRecovered())
    container = replace(ended("always", stopped=True), finished_at=recovered.time + 1)
    await world.put(container)
    await restart.resume(recovered, world.context)
    assert (await world.get(container)).state is State.EXITED
