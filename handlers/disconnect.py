"""Pull the cables of a container that has ended.

Durable: driven from the journal, at least once, until the kernel has shown that the link is gone.  It reads what is
plugged from the store and does not trust the event, so that running it twice, or late, is harmless.
"""

from __future__ import annotations

from functools import partial

from hawse.supervisor import events, faults
from hawse.supervisor.dispatch import Handler
from hawse.supervisor.events import Event
from hawse.supervisor.model import Endpoint
from hawse.supervisor.networks import plugged
from hawse.supervisor.parts import Context
from hawse.supervisor.store.tx import Tx


async def handle(event: Event, ctx: Context) -> None:
    assert isinstance(event.fact, events.ContainerExited)
    parts, container_id = ctx.parts, event.fact.container.id
    container = await parts.store.read(lambda tx: tx.container(container_id))
    if container is None or container.started_at > event.time:
        return  # removed, or started again since: what is plugged now belongs to the new run
    for network, endpoint in await parts.store.read(lambda tx: plugged(tx, container_id)):
        await parts.network.unplug(network, endpoint)
        faults.point("disconnect.unplugged")
        await parts.store.transact(partial(_disconnected, event, endpoint))
        faults.point("disconnect.committed")


def _disconnected(event: Event, endpoint: Endpoint, tx: Tx) -> None:
    container = tx.container(endpoint.container_id)
    if container is not None and endpoint in tx.endpoints(endpoint.container_id):
        tx.delete_endpoint(endpoint.container_id, endpoint.network)
        tx.append(events.NetworkDisconnected(container=container, endpoint=endpoint), cause=event.id)


HANDLER = Handler(name="disconnect", types=(events.ContainerExited.TYPE,), mode="durable", handle=handle, builtin=True)
