"""Record the addresses and ports of a connected container: what `hawse ps` shows under IP and PORTS.

Durable and safe to run twice.  The endpoint's row gets the time it was connected (an endpoint without one is still being
plugged and is not shown), and a file in the run directory (network.json) holds the same for scripts that would rather
read a file than ask the daemon.  That follows the container's networks as long as it runs.
"""

from __future__ import annotations

from msgspec.structs import replace

from hawse.supervisor import events
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.events import Event
from hawse.supervisor.model import Endpoint, encode
from hawse.supervisor.parts import Context
from hawse.supervisor.store.tx import Tx


async def handle(event: Event, ctx: Context) -> None:
    fact = event.fact
    assert isinstance(fact, events.NetworkConnected | events.NetworkPublished | events.NetworkDisconnected)
    if isinstance(fact, events.NetworkDisconnected) and not fact.container.state.is_alive:
        return

    def record(tx: Tx) -> list[Endpoint]:
        endpoints = tx.endpoints(fact.container.id)
        for endpoint in endpoints:  # its ports may have moved since
            if replace(endpoint, ports=fact.endpoint.ports) == fact.endpoint and isinstance(
                fact, events.NetworkConnected
            ):
                tx.put_endpoint(replace(endpoint, connected_at=event.time))
        return tx.endpoints(fact.container.id)

    endpoints = await ctx.parts.store.transact(record)
    run = ctx.parts.paths(fact.container.id).run
    if run.exists():  # else it ended meanwhile, and its run directory with it
        fresh = run / "network.json.new"
        fresh.write_bytes(encode(endpoints))
        fresh.rename(run / "network.json")


HANDLER = Handler(
    name="record",
    types=(events.NetworkConnected.TYPE, events.NetworkPublished.TYPE, events.NetworkDisconnected.TYPE),
    mode="durable",
    handle=handle,
    builtin=True,
)
