"""Networks as users see them: create, find, list and remove; the default one made on demand.

What a network is made of is its driver's, which network/core.py asks; this file decides and records.  A network's row is
written before anything of it exists and removed after all of it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, Forbidden, NotFound
from hawse.supervisor.core.model import DEFAULT_NETWORK, Container, ContainerId, Endpoint, Network, NetworkName
from hawse.supervisor.network import names
from hawse.supervisor.network.driver import Spec, Surroundings
from hawse.supervisor.network.teardown import undone
from hawse.supervisor.parts import Live, Parts
from hawse.supervisor.store.tx import Tx

DEFAULT: Final = DEFAULT_NETWORK
BUILTIN: Final = {"host": "host", "none": "null"}
"""Networks that always are there, the only ones of their drivers: name → driver."""
UNPLUG_DEADLINE: Final = 30.0
"""Seconds that a removal, or the next start, waits for the unplugging."""


class Networks:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def all(self) -> list[Network]:
        """The made ones, and the built-in ones that always are there."""
        made = await self._parts.store.read(lambda tx: tx.networks())
        names_made = {n.name for n in made}
        virtual = [_virtual(DEFAULT, "bridge")] if DEFAULT not in names_made else []
        return [*virtual, *made, *(_virtual(name, driver) for name, driver in BUILTIN.items())]

    async def find(self, ref: str) -> Network:
        """By name, id or unique id prefix.  Raises NotFound."""
        if ref in BUILTIN:
            return _virtual(ref, BUILTIN[ref])
        if ref in (DEFAULT, "default"):
            return await self.default()
        return await self._parts.store.read(lambda tx: tx.find_network(ref))

    async def default(self) -> Network:
        """The network `bridge`; its row is made the first time somebody needs it."""
        async with self._parts.live.locks.hold("network/bridge"):
            found = await self._parts.store.read(lambda tx: tx.network(DEFAULT))
            if found:
                return found
            return await self._make(DEFAULT, subnet=self._parts.config.bridge_subnet)

    async def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str = "",
        gateway: str = "",
        ip_range: str = "",
        internal: bool = False,
        labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Network:
        """Make a network and what it consists of.  Raises UserError or Conflict before anything is made."""
        if name in BUILTIN or name in (DEFAULT, "default"):
            raise Forbidden(f"operation is not permitted on predefined {name} network")
        names.check_network(name)
        async with self._parts.live.locks.hold(f"network/{name}"):
            return await self._make(
                NetworkName(name),
                driver=driver,
                subnet=subnet,
                gateway=gateway,
                ip_range=ip_range,
                internal=internal,
                labels=labels or {},
                options=options or {},
            )

    async def _make(
        self,
        name: NetworkName,
        *,
        driver: str = "bridge",
        subnet: str,
        gateway: str = "",
        ip_range: str = "",
        internal: bool = False,
        labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Network:
        parts = self._parts
        making = await parts.network.driver(driver)
        routes = await parts.network.live_routes()
        spec = Spec(
            id=f"{parts.random.getrandbits(256):064x}",
            name=name,
            created_at=parts.clock(),
            subnet=subnet,
            gateway=gateway,
            ip_range=ip_range,
            internal=internal,
            labels=labels or {},
            options=options or {},
        )

        def claim(tx: Tx) -> Network:
            others = tx.networks()
            if any(n.name == name for n in others):
                raise Conflict(f"network with name {name} already exists")
            config = parts.config
            there = Surroundings(
                instance=config.instance, pools=config.address_pools, routes=routes, networks=tuple(others)
            )
            network = making.validate(spec, there)
            tx.put_network(network)
            tx.append(events.NetworkCreated(network=network))
            return network

        network = await parts.store.transact(claim)
        faults.point("network-create.claimed")
        try:
            await parts.network.ensure(network)
            faults.point("network-create.made")
        except BaseException as e:
            if both := await undone(e, f"make network {name} and forget it", self._forget, network):
                raise both from e
            raise
        return network

    async def remove(self, ref: str) -> Network:
        """Raises NotFound, Forbidden for a built-in one, Conflict while containers are plugged into it."""
        if ref in BUILTIN or ref == DEFAULT:
            raise Forbidden(f"{ref} is a pre-defined network and cannot be removed")
        network = await self.find(ref)
        async with self._parts.live.locks.hold(f"network/{network.name}"):
            self._parts.live.removals[network.name] = False
            try:
                await self._let_go(network)
                await self._parts.network.remove(network)
                faults.point("network-remove.unmade")
                await self._forget(network)
                faults.point("network-remove.forgotten")
            finally:
                del self._parts.live.removals[network.name]
        return network

    async def _let_go(self, network: Network) -> None:
        """Wait for endpoints of containers that have ended; refuse for those of living ones.

        The transaction that finds none marks the removal: after it nobody is plugged in any more (`standing`).
        """
        parts = self._parts

        def claim(tx: Tx) -> list[Container]:
            standing(parts.live, tx, network.name, network.id)
            there = [c for e in tx.endpoints(network=network.name) if (c := tx.container(e.container_id))]
            if living := [c for c in there if c.state.is_alive]:
                raise _in_use(network, living, hint="stop or disconnect them first")
            if not there:
                parts.live.removals[network.name] = True
            return there

        def is_leaving(tx: Tx, container_id: ContainerId) -> bool:
            container = tx.container(container_id)
            there = tx.endpoints(container_id, network=network.name)
            return bool(there) and container is not None and not container.state.is_alive

        deadline = anyio.current_time() + UNPLUG_DEADLINE
        while leaving := await parts.store.transact(claim):
            first = leaving[0].id
            with parts.live.waits.expect(f"container/{first}", "network.disconnected") as gone:
                if await parts.store.read(lambda tx: is_leaving(tx, first)):  # noqa: B023  awaited at once
                    left = deadline - anyio.current_time()
                    if await gone.wait(max(0, left)) is None:
                        raise _in_use(network, leaving, hint="they have ended, but are not unplugged yet")

    async def _forget(self, network: Network) -> None:
        def forget(tx: Tx) -> None:
            tx.delete_network(network.name)
            tx.append(events.NetworkRemoved(network=network))

        await self._parts.store.transact(forget)


async def wait_unplugged(parts: Parts, container_id: ContainerId, timeout: float) -> bool:
    """Wait until the container has no endpoint any more; False when `timeout` seconds pass without progress."""
    while True:
        with parts.live.waits.expect(f"container/{container_id}", "network.disconnected") as gone:
            if not await parts.store.read(lambda tx: tx.endpoints(container_id)):
                return True
            if await gone.wait(timeout) is None:
                return False


def standing(live: Live, tx: Tx, name: NetworkName, network_id: str = "") -> Network:
    """The network that somebody gets an address of, or is plugged into, in this transaction.

    Raises NotFound when it is not the one that was looked up (`network_id`), or its removal can no more be refused.
    """
    network = tx.network(name)
    if network is None or (network_id and network.id != network_id) or live.removals.get(name):
        raise NotFound(f"network {name} not found")
    return network


def plugged(tx: Tx, container_id: ContainerId) -> list[tuple[Network, Endpoint]]:
    """Return what a container is plugged into, as recorded."""
    return [(tx.find_network(endpoint.network), endpoint) for endpoint in tx.endpoints(container_id)]


def _in_use(network: Network, containers: Iterable[Container], *, hint: str) -> Forbidden:
    who = ", ".join(f"name:{name}" for name in sorted(c.name for c in containers))
    return Forbidden(f"error while removing network: network {network.name} has active endpoints ({who})", hint=hint)


def _virtual(name: str, driver: str) -> Network:
    """A built-in network as a record; its id is fixed, so that it can be referred to."""
    return Network(id=name.encode().hex().ljust(64, "0"), name=NetworkName(name), driver=driver, created_at=0)
