"""Plug a starting container into its networks.

A gate: the container's namespaces exist, its init waits, and the program does not run before every cable is in.  If this
fails the start fails, and the engine unplugs what was plugged.
"""

from __future__ import annotations

from hawse.supervisor import events, faults
from hawse.supervisor.dispatch import Handler
from hawse.supervisor.model import Endpoint, Network
from hawse.supervisor.network.core import plan_endpoint
from hawse.supervisor.parts import Context
from hawse.supervisor.store.tx import Tx


async def handle(event: events.Question, ctx: Context) -> None:
    assert isinstance(event, events.PreConnect)
    parts, container = ctx.parts, event.container
    if not container.config.endpoints:
        if container.config.network_mode == "none" and (netlink := parts.shims[container.id].netlink):
            await parts.network.raise_loopback(netlink)
        return

    def plan(tx: Tx) -> list[tuple[Network, Endpoint]]:
        """Rows before kernel objects: what is about to be plugged is written down first."""
        planned = []
        published = tx.reserved_ports(container.id)
        for index, request in enumerate(container.config.endpoints):
            network = tx.find_network(request.network)
            lease = tx.leases(request.network, container_id=container.id)[0]
            endpoint = plan_endpoint(
                network,
                container,
                lease.address,
                index=index,
                ports=published if index == 0 else (),
                request=request,
                instance=parts.config.instance,
            )
            tx.put_endpoint(endpoint)
            planned.append((network, endpoint))
        return planned

    planned = await parts.store.transact(plan)
    faults.point("connect.planned")
    shim = parts.shims[container.id]
    assert shim.netlink is not None  # a container with endpoints has a network namespace of its own
    for network, endpoint in planned:
        await parts.network.ensure(network)
        await parts.network.plug(network, endpoint, shim.netlink, shim.pid)
        faults.point("connect.plugged")

    def connected(tx: Tx) -> None:
        for _, endpoint in planned:
            tx.append(
                events.NetworkConnected(container=container, endpoint=endpoint, endpoints=tuple(e for _, e in planned))
            )

    await parts.store.transact(connected)
    faults.point("connect.committed")


HANDLER = Handler(
    name="connect", types=(events.PreConnect.TYPE,), mode="gate", handle=handle, deadline=20.0, builtin=True
)
