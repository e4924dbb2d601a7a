"""Write down the addresses and ports of a connected container: what `hawse ps` shows under IP and PORTS.

Durable and safe to run twice.  A file in the run directory (network.json) holds them for scripts that would rather read a
file than ask the daemon.  It follows the container's networks as long as it runs.
"""

from __future__ import annotations

from hawse.supervisor.core import events
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import encode
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.parts import Context


async def handle(event: Event, ctx: Context) -> None:
    fact = event.fact
    assert isinstance(fact, events.NetworkConnected | events.NetworkPublished | events.NetworkDisconnected)
    if isinstance(fact, events.NetworkDisconnected) and not fact.container.state.is_alive:
        return
    endpoints = await ctx.parts.store.read(lambda tx: tx.endpoints(fact.container.id))
    run = ctx.parts.places.of(fact.container.id).run
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
