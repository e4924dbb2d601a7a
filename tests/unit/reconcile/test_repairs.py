"""Repairs against a store, with a network that fails."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from hawse.supervisor.core.errors import HawseError, KernelError
from hawse.supervisor.core.model import Endpoint, Exit, Network, State
from hawse.supervisor.lifecycle import starting
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.store.store import Store
from tests.unit.conftest import Samples


class Failing:
    """A network core that cannot unplug from the network that it is asked about first."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def unplug(self, network: Network, _: Endpoint, **__: object) -> None:
        self.asked.append(network.name)
        if network.name == self.asked[0]:
            raise KernelError("unplug", errno.EIO)


async def test_an_endpoint_that_cannot_be_released_is_not_in_the_way_of_the_next(
    store: Store, samples: Samples
) -> None:
    container, network = samples.container(state=State.EXITED, exit=Exit(code=0)), Failing()

    def prepare(tx: Any) -> None:
        tx.put(container)
        for each in (samples.network(1), samples.network(2)):
            tx.put_network(each)
            tx.put_endpoint(samples.endpoint(container, each))

    await store.transact(prepare)
    parts: Any = SimpleNamespace(store=store, network=network)
    with pytest.raises(HawseError, match="EIO"):
        await starting._undo_network(parts, container)
    assert len(network.asked) == 2, "a start that is undone pulls all its cables"

    parts.network = Failing()
    with pytest.raises(HawseError, match="EIO"):
        await repairs.unplug(parts, container.id)
    (left,) = await store.read(lambda tx: tx.endpoints(container.id))
    assert left.network == parts.network.asked[0]
    assert len(await store.read(lambda tx: tx.last_events("", "network.disconnected"))) == 1
