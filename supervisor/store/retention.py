"""Keeping the journal within its bounds of age and size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import structlog

from hawse.supervisor.errors import HawseError
from hawse.supervisor.store.store import Store

INTERVAL: Final = 300.0  # seconds

log = structlog.get_logger()


async def retain(
    store: Store,
    *,
    max_age: int,
    max_bytes: int,
    interval: float = INTERVAL,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Prune every `interval` seconds, for ever.  A store that cannot be written is tried again the next time."""
    while True:
        await sleep(interval)
        try:
            pruned = await store.prune(max_age=max_age, max_bytes=max_bytes)
        except HawseError as e:
            log.warning("journal_not_pruned", reason=str(e))
        else:
            if pruned:
                log.info("journal_pruned", events=pruned, oldest=store.journal.oldest)
