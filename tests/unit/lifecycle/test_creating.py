"""Undoing the creation of a container, against a store."""

from __future__ import annotations

import errno

import pytest

from hawse.supervisor.core.errors import KernelError, TeardownError
from hawse.supervisor.core.model import State
from hawse.supervisor.lifecycle import creating
from hawse.supervisor.lifecycle.volumes import Removal
from hawse.supervisor.parts import Parts
from tests.unit.conftest import Samples


async def test_files_go_though_a_volume_does_not(
    parts: Parts, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, invented = samples.container(state=State.CREATED), Removal(parts, [])
    await parts.store.transact(lambda tx: tx.put(container))
    files = parts.places.of(container.id)
    files.state.mkdir()

    async def delete() -> None:
        raise KernelError("remove volume", errno.EIO)

    monkeypatch.setattr(invented, "delete", delete)
    with pytest.raises(TeardownError, match="remove volume"):
        await creating._undo(parts, container, invented)
    assert not files.state.exists()
    assert await parts.store.read(lambda tx: tx.container(container.id)) is None
