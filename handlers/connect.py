"""Plug a container into those of its networks that it is not plugged into yet.

A gate: when it starts, its namespaces exist, its init waits, and the program does not run before every cable is in; when
a running one is connected to one more network, it is asked again.  If this fails the start, or the connecting, fails, and
the engine unplugs what was plugged.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.errors import NotFound
from hawse.supervisor.core.model import Endpoint, Network
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.lifecycle.networks import standing
from hawse.supervisor.network.core import plan_endpoint
from hawse.supervisor.parts import Context
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.store.tx import Tx


async def handle(event: events.Question, ctx: Context) -> events.Question | None:
    assert isinstance(event, events.PreConnect)
    parts, container = ctx.parts, event.container
    if not container.config.endpoints:
        if container.config.network_mode == "none" and (netlink := parts.live.shims[container.id].netlink):
            await parts.network.raise_loopback(netlink)
        return None

    def plan(tx: Tx) -> list[tuple[Network, Endpoint]]:
        """Rows before kernel objects: what is about to be plugged is written down first."""
        planned: list[tuple[Network, Endpoint]] = []
        there = tx.endpoints(container.id)
        plugged, interfaces = {e.network for e in there}, {e.ifname for e in there}
        published = () if any(e.ports for e in there) else tx.reserved_ports(container.id)
        for request in container.config.endpoints:
            if request.network in plugged:
                continue
            index = next(i for i in itertools.count() if f"eth{i}" not in interfaces)
            network = standing(parts.live, tx, request.network)
            leases = tx.leases(request.network, container_id=container.id)
            if not leases:  # it was made anew since the address was claimed
                raise NotFound(f"network {request.network} not found")
            endpoint = plan_endpoint(
                network,
                container,
                leases[0].address,
                index=index,
                ports=published if parts.network.traits(network).routed else (),
                request=request,
                instance=parts.config.instance,
            )
            if endpoint.ports:  # once, on the first network that can
                published = ()
            tx.put_endpoint(endpoint)
            planned.append((network, endpoint))
            interfaces.add(endpoint.ifname)
        return planned

    planned = await parts.store.transact(plan)
    faults.point("connect.planned")
    shim = parts.live.shims[container.id]
    took: dict[str, int] = {}
    async with inside(shim) as netlink:
        for network, endpoint in planned:
            await parts.network.ensure(network)
            await parts.network.plug(network, endpoint, netlink, shim.pid, took)
            faults.point("connect.plugged")

    def connected(tx: Tx) -> None:
        for _, endpoint in planned:
            tx.put_endpoint(replace(endpoint, connected_at=parts.clock()))
            tx.append(
                events.NetworkConnected(container=container, endpoint=endpoint, endpoints=tuple(e for _, e in planned))
            )

    await parts.store.transact(connected)
    faults.point("connect.committed")
    return replace(event, stages=took)


@asynccontextmanager
async def inside(shim: Shim) -> AsyncIterator[socket.socket]:
    """A netlink socket of the container's network namespace: the one it was born with, or, after a restart, one lent."""
    if shim.netlink is not None:
        yield shim.netlink
        return
    with await shim.netlink_socket() as lent:
        yield lent


HANDLER = Handler(
    name="connect", types=(events.PreConnect.TYPE,), mode="gate", handle=handle, deadline=20.0, builtin=True
)
