"""Pull the cables of a container that has ended, or the one of a network that it was taken off.

A living one's published ports and default route go over to another of its cables.

Durable: driven from the journal, at least once, until the kernel has shown that the link is gone.  It reads what is
plugged from the store and does not trust the event, so that running it twice, or late, is harmless.  A cable that does
not come out is not in the way of the others.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from hawse.handlers.connect import inside
from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Endpoint, Network
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.lifecycle.networks import plugged
from hawse.supervisor.network.teardown import Teardown
from hawse.supervisor.parts import Context, Parts
from hawse.supervisor.store.tx import Tx


async def handle(event: Event, ctx: Context) -> None:
    assert isinstance(event.fact, events.ContainerExited | events.NetworkLeft)
    parts, container_id = ctx.parts, event.fact.container.id
    # In one look: who is connected to that network again since has waited until nothing of the old cable was recorded.
    container, cables = await parts.store.read(lambda tx: (tx.container(container_id), plugged(tx, container_id)))
    if container is None or (isinstance(event.fact, events.ContainerExited) and container.state.is_alive):
        return  # removed, or started again since (never told by the clock): what is plugged now belongs to the new run
    left = event.fact.network if isinstance(event.fact, events.NetworkLeft) else ""
    teardown = Teardown(f"disconnect {container.name}")
    for network, endpoint in cables:
        if left and (network.name != left or any(r.network == left for r in container.config.endpoints)):
            continue  # another cable, or it has come back to that network since
        await teardown.step(_pull, event, network, endpoint, parts)
    teardown.end()


async def _pull(event: Event, network: Network, endpoint: Endpoint, parts: Parts) -> None:
    live = isinstance(event.fact, events.NetworkLeft)
    await (parts.network.unplug(network, endpoint, grace=0) if live else parts.network.unplug(network, endpoint))
    faults.point("disconnect.unplugged")
    if live:
        await _hand_over(event, endpoint, parts)
    await parts.store.transact(partial(_disconnected, event, endpoint))
    faults.point("disconnect.committed")


async def _hand_over(event: Event, gone: Endpoint, parts: Parts) -> None:
    """Let what went through that cable take another one, as with Docker: published ports and the default route."""
    is_routed = parts.network.is_routed

    def choose(tx: Tx) -> tuple[Network, Endpoint] | None:
        cables = plugged(tx, gone.container_id)
        others = [(n, e) for n, e in cables if n.name != gone.network and not n.internal and is_routed(n)]
        if not others:
            return None
        network, heir = next((other for other in others if other[1].ports), others[0])  # has them since before a crash
        container, there = tx.container(gone.container_id), _row(tx, gone)
        if gone.ports and container is not None and there is not None:
            tx.put_endpoint(replace(there, ports=()))
            heir = replace(heir, ports=gone.ports)
            tx.put_endpoint(heir)
            now = tuple(tx.endpoints(gone.container_id))
            tx.append(events.NetworkPublished(container=container, endpoint=heir, endpoints=now), cause=event.id)
        return network, heir

    chosen = await parts.store.transact(choose)
    faults.point("live.handed-over")
    if chosen is not None and (shim := parts.live.shims.get(gone.container_id)):
        network, heir = chosen
        if heir.ports:
            await parts.network.attach(network, heir)  # one that publishes may need another setting of its bridge port
            await parts.network.publish(heir)
        async with inside(shim) as netlink:
            await parts.network.lead(network, heir, netlink)


def _disconnected(event: Event, endpoint: Endpoint, tx: Tx) -> None:
    container, there = tx.container(endpoint.container_id), _row(tx, endpoint)
    if container is None or there is None:
        return
    if isinstance(event.fact, events.NetworkLeft) or not container.state.is_alive:  # else it is a new run's
        tx.delete_endpoint(endpoint.container_id, endpoint.network)
        if isinstance(event.fact, events.NetworkLeft):  # one that has ended keeps its address for its next start
            tx.release_leases(endpoint.container_id, endpoint.network)
        tx.append(events.NetworkDisconnected(container=container, endpoint=there), cause=event.id)


def _row(tx: Tx, endpoint: Endpoint) -> Endpoint | None:
    """Return it as it is now: ports may have become another's, and `record` may only now be told that it is plugged in."""
    for now in tx.endpoints(endpoint.container_id):
        if replace(now, ports=endpoint.ports, connected_at=endpoint.connected_at) == endpoint:
            return now
    return None


HANDLER = Handler(
    name="disconnect",
    types=(events.ContainerExited.TYPE, events.NetworkLeft.TYPE),
    mode="durable",
    handle=handle,
    builtin=True,
)
