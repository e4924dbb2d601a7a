"""Repairs against a store, with a network that fails."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from hawse.supervisor.core.errors import HawseError, KernelError
from hawse.supervisor.core.model import Endpoint, Exit, Network, State
from hawse.supervisor.lifecycle import starting
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import repairs
from tests.unit.conftest import Samples


async def test_an_endpoint_that_cannot_be_released_is_not_in_the_way_of_the_next(
    parts: Parts, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, store = samples.container(state=State.EXITED, exit=Exit(code=0)), parts.store
    asked: list[str] = []

    async def unplug(network: Network, _: Endpoint, **__: object) -> None:
        """Cannot do it from the network that it is asked about first."""
        asked.append(network.name)
        if network.name == asked[0]:
            raise KernelError("unplug", errno.EIO)

    monkeypatch.setattr(parts.network, "unplug", unplug)

    def prepare(tx: Any) -> None:
        tx.put(container)
        for each in (samples.network(1), samples.network(2)):
            tx.put_network(each)
            tx.put_endpoint(samples.endpoint(container, each))

    await store.transact(prepare)
    with pytest.raises(HawseError, match="EIO"):
        await starting._undo_network(parts, container)
    assert len(asked) == 2, "a start that is undone pulls all its cables"

    asked.clear()
    with pytest.raises(HawseError, match="EIO"):
        await repairs.unplug(parts, container.id)
    (left,) = await store.read(lambda tx: tx.endpoints(container.id))
    assert left.network == asked[0]
    assert len(await store.read(lambda tx: tx.last_events("", "network.disconnected"))) == 1
