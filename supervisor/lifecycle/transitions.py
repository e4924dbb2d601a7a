"""Apply a stimulus: the machine decides, the new record and its facts are written in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hawse.supervisor.core import machine
from hawse.supervisor.core.model import Container
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx


def move(tx: Tx, container: Container, stimulus: machine.Stimulus, now: int, *, cause: str | None = None) -> Container:
    """The container as it is afterwards.  The first of several facts is the cause of the others.

    Raises IllegalTransition, and the transaction with it.
    """
    step = machine.step(container, stimulus, now)
    tx.put(step.container)
    for fact in step.facts:
        event = tx.append(fact, cause)
        cause = event.id
    return step.container


async def step(parts: Parts, container: Container, stimulus: machine.Stimulus) -> Container:
    """`move` in a transaction of its own."""
    return await parts.store.transact(lambda tx: move(tx, container, stimulus, parts.clock()))


@asynccontextmanager
async def serial(parts: Parts, ref: str) -> AsyncIterator[Container]:
    """A container's lock, and its record as it is once the lock is held.  Raises NotFound."""
    container_id = (await parts.store.read(lambda tx: tx.find(ref))).id
    async with parts.live.locks.hold(container_id):
        yield await parts.store.read(lambda tx: tx.find(container_id))
