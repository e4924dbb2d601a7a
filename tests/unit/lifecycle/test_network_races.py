"""Who comes to a network that goes: of a connect and a removal one is refused, and leaves nothing; a disconnect is waited for.

Store, locks, waits and the handler `connect` are real.  What happens meanwhile is done in a gate, or in the network core's
place, at a known moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import pytest_asyncio
from msgspec.structs import replace

from hawse.handlers import connect, disconnect
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Forbidden, HawseError, NotFound
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    EndpointRequest,
    Exit,
    Lease,
    Network,
    NetworkName,
    State,
)
from hawse.supervisor.engine import Engine
from hawse.supervisor.lifecycle import cabling, creating
from hawse.supervisor.locks import Busy
from hawse.supervisor.parts import Context
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.plan import Action, Kind
from hawse.supervisor.runtime.client import Shim
from tests.unit.conftest import Samples

Act = Callable[[], Awaitable[object]]
N1 = NetworkName("n1")
ON_N1 = EndpointRequest(network=N1)


async def nothing(*_: object, **__: object) -> None:
    pass


class Plugged:
    """A shim whose container has a network namespace."""

    pid, netlink = 1, object()


class World:
    """A store with the network n1, and what a verb needs of the rest."""

    def __init__(self, engine: Engine, samples: Samples, patch: pytest.MonkeyPatch) -> None:
        self.parts, self.store, self.samples = engine.parts, engine.store, samples
        self.meanwhile: Act = nothing  # what others do while a gate is asked
        self.unmade: list[str] = []
        self.unmaking: Act = nothing  # ... and while a bridge is taken down
        for verb, stand_in in {"remove": self._remove, "ensure": nothing, "plug": nothing, "unplug": nothing}.items():
            patch.setattr(engine.parts.network, verb, stand_in)
        self.networks, self.context = engine.networks, Context(parts=engine.parts, engine=engine)

    async def _remove(self, network: Network) -> None:
        await self.unmaking()
        self.unmade.append(network.name)

    async def gate(self, question: Any) -> Any:
        await self.meanwhile()
        if isinstance(question, events.PreConnect):
            return await connect.handle(question, self.context) or question
        return question

    async def create(self) -> Container:
        config = ContainerConfig(rootfs="/", cmd=("true",), network_mode=N1, endpoints=(ON_N1,))
        return await creating.create(self.parts, self.networks, self, config, "box")  # type: ignore[arg-type]

    async def connect(self, container: Container) -> Container:
        network = await self.networks.find("n1")
        await self.meanwhile()  # between the look and the lock
        return await cabling.connect(self.parts, self, container, network, ON_N1)  # type: ignore[arg-type]

    async def container(self, container: Container) -> Container | None:
        """As it is recorded now."""
        return await self.store.read(lambda tx: tx.container(container.id))

    async def have(self, n: int = 1, **changes: Any) -> Container:
        """A container that exists; `shim` is what a running one has."""
        container = self.samples.container(n, **changes)
        self.parts.live.shims[container.id] = cast(Shim, Plugged())
        await self.store.transact(lambda tx: tx.put(container))
        return container

    async def plug(self, container: Container) -> None:
        """It is plugged into n1."""
        endpoint = self.samples.endpoint(container, self.samples.network())
        await self.store.transact(
            lambda tx: (
                tx.lease(Lease(network=N1, address=endpoint.address, container_id=container.id)),
                tx.put_endpoint(endpoint),
            )
        )

    async def left(self) -> tuple[list[str], list[Any], list[Any]]:
        """Networks, leases, endpoints."""
        return await self.store.read(lambda tx: ([n.name for n in tx.networks()], tx.leases(), tx.endpoints()))

    async def told(self, kind: str) -> int:
        return len(await self.store.read(lambda tx: tx.last_events("", kind)))


@pytest_asyncio.fixture
async def world(engine: Engine, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> World:
    await engine.store.transact(lambda tx: tx.put_network(samples.network()))
    return World(engine, samples, monkeypatch)


@asynccontextmanager
async def going(world: World, how: str) -> AsyncIterator[Act]:
    """What takes n1 away, to be called in the middle of something; afterwards nobody has anything of it."""
    taken_down = anyio.Event()

    async def remove() -> None:
        await world.networks.remove("n1")
        if how == "removed and made anew":
            await world.store.transact(lambda tx: tx.put_network(world.samples.network(2, name=N1)))

    async with anyio.create_task_group() as tasks:
        entered = anyio.Event()

        async def halfway() -> None:
            entered.set()
            await taken_down.wait()

        async def begin() -> None:
            world.unmaking = halfway
            tasks.start_soon(remove)
            await entered.wait()

        yield begin if how == "being removed" else remove
        taken_down.set()
    names, leases, endpoints = await world.left()
    assert (leases, endpoints) == ([], [])
    assert names == (["n1"] if how == "removed and made anew" else [])
    assert world.parts.live.removals == {} and await world.told("network.removed") == 1


each_way = pytest.mark.parametrize("how", ["removed", "removed and made anew", "being removed"])


@each_way
async def test_a_create_is_told_that_the_network_is_not_found(world: World, how: str) -> None:
    async with going(world, how) as world.meanwhile:
        with pytest.raises(NotFound, match=r"^network n1 not found$"):
            await world.create()
    assert await world.store.read(lambda tx: tx.containers()) == []
    assert await world.store.read(lambda tx: tx._all("SELECT * FROM id_ranges")) == []
    assert await world.told("container.created") == 0


@each_way
@pytest.mark.parametrize("state", [State.CREATED, State.RUNNING])
async def test_a_connect_is_told_that_the_network_is_not_found(world: World, state: State, how: str) -> None:
    container = await world.have(state=state)
    async with going(world, how) as world.meanwhile:
        with pytest.raises(NotFound, match=r"^network n1 not found$"):
            await world.connect(container)
    assert await world.container(container) == container


@each_way
async def test_a_connect_that_has_its_address_is_taken_back(world: World, how: str) -> None:
    """The removal comes between the claim of the address and the plugging."""
    container = await world.have(state=State.RUNNING)
    network = await world.networks.find("n1")
    async with going(world, how) as world.meanwhile:
        with pytest.raises(NotFound, match=r"^network n1 not found$"):
            await cabling.connect(world.parts, world, container, network, ON_N1)  # type: ignore[arg-type]
    assert await world.container(container) == container
    assert await world.told("network.connected") == 0


async def test_a_removal_is_refused_from_the_moment_on_that_a_cable_is_planned(world: World) -> None:
    container = await world.have(state=State.RUNNING)
    network = await world.networks.find("n1")
    refused = []

    async def remove(*_: object) -> None:
        with pytest.raises(Forbidden, match=r"network n1 has active endpoints \(name:c1\)") as told:
            await world.networks.remove("n1")
        refused.append(told)

    world.parts.network.plug = remove
    await cabling.connect(world.parts, world, container, network, ON_N1)  # type: ignore[arg-type]
    assert refused and world.unmade == [], "the bridge under a living cable stays"
    names, leases, endpoints = await world.left()
    assert names == ["n1"] and len(leases) == len(endpoints) == 1
    assert world.parts.live.removals == {} and await world.told("network.removed") == 0


async def test_a_start_wins_while_a_removal_waits_for_an_ended_container(world: World) -> None:
    ended = await world.have(state=State.EXITED, exit=Exit(code=0))
    starting = await world.have(n=2, state=State.STARTING)
    await world.plug(ended)
    failed = anyio.Event()

    async def remove() -> None:
        with pytest.raises(Forbidden, match=r"active endpoints \(name:c2\)"):
            await world.networks.remove("n1")
        failed.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remove)
        while f"container/{ended.id}" not in world.parts.live.waits._waiting:
            await anyio.lowlevel.checkpoint()
        joined = replace(starting, config=replace(starting.config, endpoints=(ON_N1,)))
        network = world.samples.network()
        await world.store.transact(lambda tx: creating.lease(tx, starting.id, ON_N1, network))
        await world.gate(events.PreConnect(container=joined, pid=1))
        (endpoint,) = await world.store.read(lambda tx: tx.endpoints(ended.id))

        def unplugged(tx: Any) -> None:
            tx.delete_endpoint(ended.id, N1)
            tx.append(events.NetworkDisconnected(container=ended, endpoint=endpoint))

        assert not failed.is_set(), "it waits for the one that has ended"
        await world.store.transact(unplugged)
    assert world.unmade == [] and world.parts.live.removals == {}


async def test_a_removal_waits_for_a_container_that_has_ended(world: World) -> None:
    """A part of its cables comes out first; that one is not of this network."""
    ended = await world.have(state=State.EXITED, exit=Exit(code=0))
    await world.plug(ended)
    (endpoint,) = await world.store.read(lambda tx: tx.endpoints(ended.id))
    other = replace(endpoint, network=NetworkName("n2"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.networks.remove, "n1")
        while f"container/{ended.id}" not in world.parts.live.waits._waiting:
            await anyio.lowlevel.checkpoint()
        out = events.NetworkDisconnected
        await world.store.transact(lambda tx: tx.append(out(container=ended, endpoint=other)))
        await world.store.read(lambda tx: None)
        assert world.unmade == []
        await world.store.transact(lambda tx: tx.delete_endpoint(ended.id, N1))
        await world.store.transact(lambda tx: tx.append(out(container=ended, endpoint=endpoint)))
    assert world.unmade == ["n1"] and (await world.left())[0] == []


async def test_of_two_removals_one_is_told_that_it_is_not_found(world: World) -> None:
    first, second = await world.networks.find("n1"), anyio.Event()
    results: list[object] = []

    async def remove() -> None:
        try:
            results.append(await world.networks.remove("n1"))
        except NotFound as e:
            results.append(e.message)
        second.set()

    async def both() -> None:
        if not results and not world.unmade and not asked:
            asked.append(1)
            tasks.start_soon(remove)
            while world.parts.live.locks._locks["network/n1"][1] < 2:
                await anyio.lowlevel.checkpoint()

    asked: list[int] = []
    async with anyio.create_task_group() as tasks:
        world.unmaking = both
        tasks.start_soon(remove)
    assert results == [first, "network n1 not found"]
    assert world.unmade == ["n1"] and await world.told("network.removed") == 1


async def test_a_bridge_that_is_being_taken_down_is_not_mended(world: World) -> None:
    """The keeper has seen it missing; nobody would take down what it makes after that."""
    mended: list[Network] = []

    async def mend(network: Network) -> None:
        mended.append(network)

    async def keeper() -> None:
        with pytest.raises(Busy):
            await repairs.apply(world.parts, missing, nothing)

    async def meanwhile() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper)

    world.parts.network.mend = mend
    missing = Action(kind=Kind.MEND_NETWORK, object="bridge br1", problem="missing", network="n1")
    await repairs.apply(world.parts, missing, nothing)
    assert len(mended) == 1
    world.unmaking = meanwhile
    await world.networks.remove("n1")
    await repairs.apply(world.parts, missing, nothing)
    assert len(mended) == 1


async def test_after_a_removal_that_fails_the_network_can_be_used_again(world: World) -> None:
    async def fails() -> None:
        raise OSError("no")

    world.unmaking = fails
    with pytest.raises(OSError):
        await world.networks.remove("n1")
    container = await world.have()
    await world.connect(container)
    names, leases, _ = await world.left()
    assert names == ["n1"] and len(leases) == 1


async def test_a_connect_waits_until_what_is_left_of_a_disconnect_is_gone(world: World) -> None:
    """A crash has cut it off: the cable is out or not, its row and its address are still there."""
    container = await world.have(state=State.RUNNING)
    await world.plug(container)
    network, waits = await world.networks.find("n1"), world.parts.live.waits
    (old,) = await world.store.read(lambda tx: tx.endpoints(container.id))
    left = events.NetworkLeft(container=container, endpoints=(old,), network=N1)
    event = await world.store.transact(lambda tx: tx.append(left))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cabling.connect, world.parts, world, container, network, ON_N1)
        while f"container/{container.id}" not in waits._waiting:
            await anyio.lowlevel.checkpoint()
        assert await world.container(container) == container
        await disconnect.handle(event, world.context)
    (new,) = await world.store.read(lambda tx: tx.endpoints(container.id))
    (held,) = await world.store.read(lambda tx: tx.leases(container_id=container.id))
    assert new.connected_at and not old.connected_at
    assert held.address == new.address
    assert (await world.told("network.disconnected"), await world.told("network.connected")) == (1, 1)
    await disconnect.handle(event, world.context)
    assert await world.store.read(lambda tx: tx.endpoints(container.id)) == [new], "told twice, after another crash"


async def test_a_connect_says_why_when_the_old_cable_does_not_come_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cabling, "UNPLUG_DEADLINE", 0.0)
    container = await world.have(state=State.RUNNING)
    await world.plug(container)
    before = await world.left()
    with pytest.raises(HawseError, match="c1 is still plugged into n1 after 0 s"):
        await cabling.connect(world.parts, world, container, await world.networks.find("n1"), ON_N1)  # type: ignore[arg-type]
    assert await world.container(container) == container and await world.left() == before
