"""Containers that remove themselves: for their users they are gone when they have ended.

Whoever wants what one of them still holds (its name, address, volume) waits for our clean-up, as if it had never been
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hawse.supervisor.model import Container
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

DEADLINE = 30.0  # seconds that somebody waits for one


async def wait_gone(parts: Parts, holders: Callable[[Tx], Iterable[Container]]) -> bool:
    """Until those of `holders` that are leaving have left; one that cannot be removed is not waited for any longer.

    Whether there were any.
    """
    found = await parts.store.read(lambda tx: [c.id for c in holders(tx) if c.is_leaving])
    for container_id in found:
        with parts.waits.expect(f"container/{container_id}", "container.removed") as removed:
            if await parts.store.read(lambda tx: tx.container(container_id)):  # noqa: B023  awaited at once
                await removed.wait(DEADLINE)
    return bool(found)
