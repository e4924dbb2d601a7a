"""What a store needs while it is used: the journal kept within its bounds, the write-ahead log copied back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.store.store import Store

INTERVAL: Final = 300.0  # seconds between two prunings, less when events are kept for less than 50 minutes

Bounds = Callable[[], tuple[int, int]]
"""Seconds that events are kept for, and bytes of them; asked each time, since a reload may change them."""

log = structlog.get_logger()


async def upkeep(store: Store, bounds: Bounds, *, before: Callable[[], None]) -> None:
    """Both, for ever.  A store that cannot be written is tried again the next time."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_checkpointed, store)
        interval = max(1.0, min(INTERVAL, bounds()[0] / 10))
        await retain(store, bounds, interval=interval, before=before)


async def retain(
    store: Store,
    bounds: Bounds,
    *,
    interval: float = INTERVAL,
    before: Callable[[], None] = lambda: None,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Prune every `interval` seconds; `before` is called before each time."""
    while True:
        await sleep(interval)
        before()
        try:
            max_age, max_bytes = bounds()
            pruned = await store.prune(max_age=max_age, max_bytes=max_bytes)
        except HawseError as e:
            log.warning("journal_not_pruned", reason=str(e))
        else:
            if pruned:
                log.info("journal_pruned", events=pruned, oldest=store.journal.oldest)


async def keep_checkpointed(store: Store) -> None:
    """Copy the write-ahead log back beside the writer: done by a commit it would hold up that commit for its fsyncs."""
    while True:
        await store.wait_wal_grown()
        try:
            await store.checkpoint()
        except HawseError as e:
            log.warning("store_not_checkpointed", reason=str(e))
