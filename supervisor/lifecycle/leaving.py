"""Containers that remove themselves: for their users they are gone when they have ended.

Whoever wants what one of them still holds (its name, address, volume) waits for our clean-up, as if it had never been
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar

from hawse.supervisor.core.errors import Conflict
from hawse.supervisor.core.model import Container, ContainerId
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

T = TypeVar("T")
Holders: TypeAlias = Callable[[Tx], Iterable[Container]]

DEADLINE = 30.0  # seconds that somebody waits for one


async def wait_gone(parts: Parts, holders: Holders) -> None:
    """Wait until those of `holders` that are leaving have left; one that cannot be removed is not waited for any longer."""
    await _wait(parts, await parts.store.read(lambda tx: _leaving(tx, holders)))


async def transact(parts: Parts, work: Callable[[Tx], T], holders: Holders) -> T:
    """Run one transaction; when it meets a Conflict and some of `holders` are leaving, once more when they have left.

    Who is leaving is asked in the transaction that failed: a moment later they may be gone, and what they held be free.
    """
    in_the_way: list[ContainerId] = []

    def attempt(tx: Tx) -> T:
        try:
            return work(tx)
        except Conflict:
            in_the_way.extend(_leaving(tx, holders))
            raise

    try:
        return await parts.store.transact(attempt)
    except Conflict:
        if not in_the_way:
            raise
    await _wait(parts, in_the_way)
    return await parts.store.transact(work)


def _leaving(tx: Tx, holders: Holders) -> list[ContainerId]:
    return [container.id for container in holders(tx) if container.is_leaving]


async def _wait(parts: Parts, container_ids: Iterable[ContainerId]) -> None:
    for container_id in container_ids:
        with parts.live.waits.expect(f"container/{container_id}", "container.removed") as removed:
            if await parts.store.read(lambda tx: tx.container(container_id)):  # noqa: B023  awaited at once
                await removed.wait(DEADLINE)
