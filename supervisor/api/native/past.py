"""/hawse/v1/past: the time machine over the journal, and who has which address now."""

from __future__ import annotations

import platform

from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints.look import surroundings
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Container, Lease
from hawse.supervisor.docker.view_container import summary
from hawse.supervisor.journal import past
from hawse.supervisor.journal.envelope import composer
from hawse.supervisor.store.tx import Tx

STORY_LIMIT = 10_000


async def containers(call: Call) -> web.StreamResponse:
    """GET past/containers?at=TIME: the containers as they were then, in the form of Docker's list."""
    at = _moment(call)
    around = await surroundings(call.engine)
    found = await call.engine.store.read(lambda tx: past.containers_at(tx, at))
    if not call.query.flag("all"):
        found = [then for then in found if then.container.state.is_alive]
    return call.json([summary(then.container, then.endpoints, around, at) for then in found[::-1]])


async def leases(call: Call) -> web.StreamResponse:
    """GET leases?network=N&at=TIME: whose which address is, or was then."""
    network = call.query.text("network")
    at = _moment(call) if "at" in call.query else None
    found = await call.engine.store.read(
        lambda tx: _held(tx, network) if at is None else past.leases_at(tx, at, network)
    )
    found.sort(key=lambda held: (held[0].network, held[0].address))
    return call.json(
        [
            {
                "Network": lease.network,
                "Address": str(lease.address),
                "Container": container.id,
                "Name": container.name,
                "State": container.public,
            }
            for lease, container in found
        ]
    )


async def history(call: Call) -> web.StreamResponse:
    """GET history/X: every event that concerns a container, a network, an address or a published port."""
    limit = call.query.integer("limit", STORY_LIMIT, least=1, most=STORY_LIMIT)
    rows = await call.engine.store.read(lambda tx: past.story(tx, call.params["name"], limit))
    compose = composer(call.engine.store.journal.epochs, platform.node())
    async with call.stream(wire.JSON_LINES) as out:
        if rows:
            await out.write(b"".join(compose(row) + b"\n" for row in rows))
    return out.response


def _held(tx: Tx, network: str) -> list[tuple[Lease, Container]]:
    if network:
        tx.find_network(network)
    known = {container.id: container for container in tx.containers()}
    return [(lease, known[lease.container_id]) for lease in tx.leases(network or None)]


def _moment(call: Call) -> int:
    at = call.query.timestamp("at", call.engine.parts.clock())
    if at is None:
        raise UserError("invalid value for at: absent", hint="a time, such as 10m or 2026-01-31T12:00:00Z")
    return at
