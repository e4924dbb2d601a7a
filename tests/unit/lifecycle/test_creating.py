"""Undoing the creation of a container, against a store."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hawse.supervisor.core.errors import KernelError, TeardownError
from hawse.supervisor.core.model import State
from hawse.supervisor.lifecycle import creating
from hawse.supervisor.store.store import Store
from tests.unit.conftest import Samples


async def test_files_go_though_a_volume_does_not(store: Store, samples: Samples) -> None:
    container, discarded = samples.container(state=State.CREATED), []
    await store.transact(lambda tx: tx.put(container))

    async def transact(rows: Any, *, owed: bool) -> None:
        await store.transact(rows)

    async def delete() -> None:
        raise KernelError("remove volume", errno.EIO)

    async def discard(path: Path) -> None:
        discarded.append(path)

    invented: Any = SimpleNamespace(transact=transact, forget=lambda _: None, delete=delete)
    parts: Any = SimpleNamespace(clock=lambda: 1, paths=Path, images=SimpleNamespace(discard=discard))
    with pytest.raises(TeardownError, match="remove volume"):
        await creating._undo(parts, container, invented)
    assert discarded == [Path(container.id)]
    assert await store.read(lambda tx: tx.container(container.id)) is None
