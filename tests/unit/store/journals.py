"""Events to fill a journal with, ways to read it, and sizes that make every path be taken with few."""

from __future__ import annotations

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.store import journal as journal_module


def started(n):
    return events.DaemonStarted(version="1", pid=n)


async def append(store, *numbers):
    return await store.transact(lambda tx: [tx.append(started(n)) for n in numbers])


async def take(stream, count):
    with anyio.fail_after(60):
        return [await anext(stream) for _ in range(count)]


@pytest.fixture
def small(monkeypatch):
    """Sizes that make every path be taken with few events."""
    monkeypatch.setattr(journal_module, "RING", 4)
    monkeypatch.setattr(journal_module, "CHUNK", 3)
    monkeypatch.setattr(journal_module, "WINDOW", 5)
