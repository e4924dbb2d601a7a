"""GET /events: the journal as Docker tells it, from any time that is still kept, and on."""

from __future__ import annotations

from contextlib import aclosing

import anyio
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call, Stream
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.events import NetworkCreated
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.view_event import FILTERS, docker_events, matches


async def stream(call: Call) -> web.StreamResponse:
    """GET /events: since..now from the journal, then what comes, until `until`; one JSON object a line."""
    wanted = call.filters(FILTERS)
    journal, now = call.engine.store.journal, call.engine.parts.clock()
    since, until = call.query.timestamp("since", now), call.query.timestamp("until", now)
    if since is not None and until is not None and since > until:
        raise UserError("`since` time cannot be after `until` time")
    head = journal.head
    start = head if since is None else await call.engine.store.read(lambda tx: tx.seq_at(since))
    async with call.stream(wire.JSON) as out:
        if until is None:
            await _tell(call, out, wanted, start, None, None)
        elif until <= now:
            await _tell(call, out, wanted, start, head, until)
        else:
            with anyio.move_on_after((until - now) / 1e9):
                await _tell(call, out, wanted, start, None, until)
    return out.response


async def _tell(call: Call, out: Stream, wanted: Filters, start: int, last: int | None, until: int | None) -> None:
    ids: dict[str, str] = {n.name: n.id for n in await call.engine.networks.all()}
    async with aclosing(call.engine.store.journal.follow_seq(start, until=last)) as events:
        async for event in events:
            if until is not None and event.time > until:
                return
            if isinstance(event.fact, NetworkCreated):
                ids[event.fact.network.name] = event.fact.network.id
            for view in docker_events(event, ids):
                if matches(view, wanted):
                    await out.line(view)
