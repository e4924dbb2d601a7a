"""A dispatcher to test with, over a real store, with a clock that sleeping moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.dispatch import ledger
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.dispatch.handler import Handler

CONTEXT = object()
DEADLINE = 60.0


class Lab:
    """A dispatcher over a real store, with a clock that sleeping moves."""

    def __init__(self, store, clock, samples) -> None:
        self.store, self.clock, self.samples = store, clock, samples
        self.slept: list[float] = []
        self.chance: Callable[[], float] = lambda: 1.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def running(self, *handlers: Handler) -> AsyncIterator[Dispatcher]:
        dispatcher = Dispatcher(self.store, handlers, CONTEXT, sleep=self.sleep, random=self.chance)
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:
                await tasks.start(dispatcher.run)
                yield dispatcher
                tasks.cancel_scope.cancel()

    async def happen(self, *subjects: int) -> list[int]:
        """One event for each container number; their seqs."""

        def append(tx):
            return [tx.append(events.ContainerCreated(container=self.samples.container(n))).seq for n in subjects]

        return await self.store.transact(append)

    async def rows(self, **how):
        return await self.store.read(lambda tx: tx.deliveries(**how))

    async def cursor(self, name):
        return (await self.store.read(lambda tx: tx.handler_cursors())).get(name)

    async def hooks(self):
        found = await self.store.read(lambda tx: tx.events(types=["hook.*"]))
        return [(e.type, e.fact.handler, e.fact.attempt, e.fact.detail) for e in found]


@pytest.fixture(autouse=True)
def time_for_the_last_flush(monkeypatch):
    """As much as a busy disk takes: what is written at the end is looked at."""
    monkeypatch.setattr(ledger, "LAST_FLUSH", DEADLINE)


@pytest.fixture
def lab(store, clock, samples):
    return Lab(store, clock, samples)


def durable(handle, name="h", **options):
    return Handler(name=name, types=("container.*",), mode="durable", handle=handle, **options)


async def until(condition):
    """Poll with the event loop, not with the clock."""
    with anyio.fail_after(DEADLINE):
        while not (outcome := await condition()):
            await asyncio.sleep(0.001)
    return outcome
