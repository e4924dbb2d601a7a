"""GET /containers/X/logs: what the shim wrote, framed as Docker does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from urllib.parse import quote_plus

import anyio
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.core import logfields
from hawse.supervisor.core.errors import NotFound, NotImplementedYet, UserError
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.runtime.logfollow import LogQuery, read_log
from hawse.supervisor.runtime.logreader import Entry


async def stream(call: Call) -> web.StreamResponse:
    """GET /containers/X/logs: with follow until the container has ended and everything that it wrote is told."""
    now = call.engine.parts.clock()
    query = LogQuery(
        stdout=call.query.flag("stdout"),
        stderr=call.query.flag("stderr"),
        tail=_tail(call),
        since=call.query.timestamp("since", now) or 0,
        until=call.query.timestamp("until", now) or 0,
    )
    if not (query.stdout or query.stderr):
        raise UserError("Bad parameters: you must choose at least one stream")
    container = await call.engine.container(call.ref)
    if container.config.log_driver == "none":
        raise NotImplementedYet("configured logging driver does not support reading")
    framed = not container.config.tty
    times = call.query.flag("timestamps")
    details = _details(container.config) if call.query.flag("details") else b""
    follow = call.query.flag("follow") and container.state.is_alive
    path = call.engine.parts.places.of(container.id).log
    async with call.stream(call.stream_type(framed)) as out, anyio.create_task_group() as tasks:
        ended = asyncio.Event() if follow else None
        if ended is not None:
            tasks.start_soon(_tell_end, call, container.id, ended)
        async with aclosing(read_log(path, query, ended)) as batches:
            async for entries in batches:
                await out.write(b"".join(shown(entry, framed, times, details) for entry in entries))
        tasks.cancel_scope.cancel()
    return out.response


def _tail(call: Call) -> int | None:
    text = call.query.text("tail")
    if text in ("", "all"):
        return None
    count = call.query.integer("tail", 0)
    return None if count < 0 else count


async def _tell_end(call: Call, container_id: str, ended: asyncio.Event) -> None:
    try:
        async with call.engine.waiting(container_id, "not-running") as wait:
            await wait()
    except NotFound:
        pass  # removed before we looked: nothing more is coming
    ended.set()


def _details(config: ContainerConfig) -> bytes:
    """The labels and variables named by --log-opt, `a=1,b=2`, and a blank that is there without any as well."""
    found = sorted(logfields.details(config).items())
    return ",".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in found).encode() + b" "


def shown(entry: Entry, framed: bool, times: bool = False, details: bytes = b"") -> bytes:
    """Return it as docker sends it: in a frame that names the stream, unless it was a terminal."""
    data = entry.output
    if details and entry.starts_line:
        data = details + data
    if times and entry.starts_line:
        data = entry.time.encode() + b" " + data
    return wire.frame(wire.STREAMS[entry.stream], data) if framed else data
