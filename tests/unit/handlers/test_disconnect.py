"""The handler that pulls cables, against a store; what else happens while it pulls one is played by the fake network."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from hawse.handlers import disconnect
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import HawseError, KernelError
from hawse.supervisor.core.model import Container, Endpoint, EndpointRequest, Exit, Network, PortBinding, State
from hawse.supervisor.engine import Engine
from hawse.supervisor.parts import Context
from hawse.supervisor.store.store import Store
from tests.unit.conftest import Samples


async def exits(
    engine: Engine, samples: Samples, meanwhile: Callable[[Container, Endpoint], Awaitable[None]]
) -> Container:
    """A container with a cable ends; `meanwhile` happens while the cable is pulled."""
    network = samples.network()
    container = samples.container(state=State.EXITED, exit=Exit(code=0))
    endpoint = samples.endpoint(container, network)

    def prepare(tx: Any) -> Any:
        tx.put_network(network)
        tx.put(container)
        tx.put_endpoint(endpoint)
        return tx.append(events.ContainerExited(container=container, endpoints=(endpoint,), exit=Exit(code=0)))

    event = await engine.store.transact(prepare)

    async def unplug(*_: object, **__: object) -> None:
        await meanwhile(container, endpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.parts.network, "unplug", unplug)
        await disconnect.handle(event, Context(parts=engine.parts, engine=engine))
    return container


async def test_a_cable_that_is_recorded_while_it_is_pulled_is_released_all_the_same(
    engine: Engine, store: Store, samples: Samples
) -> None:
    """The handler `record` may be told of the connection late, on a busy machine, of a program that ends at once."""

    async def recorded(_: Container, endpoint: Endpoint) -> None:
        await store.transact(lambda tx: tx.put_endpoint(replace(endpoint, connected_at=5)))

    container = await exits(engine, samples, recorded)
    assert await store.read(lambda tx: tx.endpoints(container.id)) == []
    assert len(await store.read(lambda tx: tx.last_events("", "network.disconnected"))) == 1


async def test_the_cable_of_a_new_run_stays(engine: Engine, store: Store, samples: Samples) -> None:
    """The keeper was quicker, and the container has been started again since."""

    async def started(container: Container, endpoint: Endpoint) -> None:
        await store.transact(lambda tx: tx.put(replace(container, state=State.STARTING)))

    container = await exits(engine, samples, started)
    assert len(await store.read(lambda tx: tx.endpoints(container.id))) == 1
    assert await store.read(lambda tx: tx.last_events("", "network.disconnected")) == []


async def test_a_container_that_comes_back_meanwhile_keeps_its_new_cable(
    engine: Engine, store: Store, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash has this told twice: when the handler looks, nothing is left of the old cable, and then it is connected anew."""
    network, container = samples.network(), samples.container(state=State.RUNNING)
    left = events.NetworkLeft(container=container, endpoints=(), network=network.name)
    event = await store.transact(lambda tx: (tx.put_network(network), tx.put(container), tx.append(left))[-1])
    back = replace(container, config=replace(container.config, endpoints=(EndpointRequest(network=network.name),)))

    look_for_it = store.read

    async def read(look: Callable[[Any], Any]) -> Any:
        seen = await look_for_it(look)
        await store.transact(lambda tx: (tx.put(back), tx.put_endpoint(samples.endpoint(container, network))))
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", read)
        await disconnect.handle(event, Context(parts=engine.parts, engine=engine))
    assert len(await store.read(lambda tx: tx.endpoints(container.id))) == 1


async def test_a_cable_that_does_not_come_out_is_not_in_the_way_of_the_next(
    engine: Engine, store: Store, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again with the event; what is out is recorded as out."""
    first, second = samples.network(1), samples.network(2)
    container = samples.container(state=State.EXITED, exit=Exit(code=0))
    pulled: list[str] = []

    def prepare(tx: Any) -> Any:
        tx.put(container)
        for network in (first, second):
            tx.put_network(network)
            tx.put_endpoint(samples.endpoint(container, network))
        return tx.append(events.ContainerExited(container=container, endpoints=(), exit=Exit(code=0)))

    event = await store.transact(prepare)

    async def unplug(network: Network, *_: object, **__: object) -> None:
        if not pulled:
            pulled.append(network.name)
            raise KernelError("unplug", errno.EIO)
        pulled.append(network.name)

    monkeypatch.setattr(engine.parts.network, "unplug", unplug)
    ctx = Context(parts=engine.parts, engine=engine)
    with pytest.raises(HawseError, match="unplug"):
        await disconnect.handle(event, ctx)
    (left,) = await store.read(lambda tx: tx.endpoints(container.id))
    assert left.network == pulled[0] and len(pulled) == 2
    await disconnect.handle(event, ctx)
    assert await store.read(lambda tx: tx.endpoints(container.id)) == []


@pytest.mark.parametrize("routed", [True, False])
async def test_ports_move_only_to_a_network_that_can_publish_them(
    engine: Engine, store: Store, samples: Samples, monkeypatch: pytest.MonkeyPatch, routed: bool
) -> None:
    first, second = samples.network(1), samples.network(2, driver="other")
    container = samples.container(state=State.RUNNING)
    container = replace(container, config=replace(container.config, endpoints=(EndpointRequest(network=second.name),)))
    ports = (PortBinding(container_port=80, host_port=8080),)
    left = events.NetworkLeft(container=container, endpoints=(), network=first.name)

    def prepare(tx: Any) -> Any:
        tx.put(container)
        for network, published in ((first, ports), (second, ())):
            tx.put_network(network)
            tx.put_endpoint(samples.endpoint(container, network, ports=published))
        return tx.append(left)

    event = await store.transact(prepare)

    async def unplug(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(engine.parts.network, "unplug", unplug)
    monkeypatch.setattr(engine.parts.network, "is_routed", lambda network: network.driver == "bridge" or routed)
    await disconnect.handle(event, Context(parts=engine.parts, engine=engine))
    (there,) = await store.read(lambda tx: tx.endpoints(container.id))
    assert there.network == second.name and there.ports == (ports if routed else ())
