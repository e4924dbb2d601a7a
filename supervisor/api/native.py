"""/hawse/v1: what Docker's API lacks.  Events with a cursor, a snapshot that says where its events go on, native records."""

from __future__ import annotations

import platform
from contextlib import aclosing
from typing import Any

import anyio
from aiohttp import web
from msgspec import to_builtins

from hawse.supervisor.api import look, wire
from hawse.supervisor.api.call import Call, Stream, encode
from hawse.supervisor.api.system import counts
from hawse.supervisor.events import Event, cloudevent
from hawse.supervisor.linux.features import probe
from hawse.supervisor.model import encode_hook
from hawse.supervisor.store.journal import Journal


async def events(call: Call) -> web.StreamResponse:
    """GET events?after=CURSOR&follow=1&types=container.*,network.*&subject=…

    JSON lines, or server-sent events when asked for with Accept (Last-Event-ID then is the cursor).  `after` is exclusive;
    without it everything that is kept comes.  While nothing happens a heartbeat carries a cursor to go on from.  A cursor
    that cannot be honoured is 410 with the oldest one that can; nothing is ever skipped silently.
    """
    journal = call.engine.store.journal
    sse = wire.EVENT_STREAM in call.request.headers.get("Accept", "")
    after = call.query.text("after") or call.request.headers.get("Last-Event-ID", "")
    position = journal.head if after == "now" else journal.parse(after)
    types = tuple(filter(None, call.query.text("types").split(",")))
    subject = call.query.text("subject")
    follow = call.query.flag("follow")
    node = platform.node()
    async with call.stream(wire.EVENT_STREAM if sse else wire.JSON_LINES) as out:
        while True:
            head = journal.head
            async with aclosing(journal.follow_seq(position, types=types, subject=subject, until=head)) as found:
                async for event in found:
                    await _tell(out, event, node, sse)
            position = head
            if not follow:
                break
            if not await _grown(journal, position):
                await _heartbeat(out, journal.epochs.cursor(position), sse)
    return out.response


async def _grown(journal: Journal, position: int) -> bool:
    """Whether something happened before the next heartbeat is due."""
    with anyio.move_on_after(wire.HEARTBEAT):
        async with aclosing(journal.follow_seq(position)) as coming:
            async for _ in coming:
                return True
    return False


async def _tell(out: Stream, event: Event, node: str, sse: bool) -> None:
    body = encode(cloudevent(event, node))
    await out.write(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), body) if sse else body + b"\n"
    )


async def _heartbeat(out: Stream, cursor: str, sse: bool) -> None:
    if sse:
        await out.write(f"id: {cursor}\nevent: heartbeat\ndata: {{}}\n\n".encode())
    else:
        await out.line({"type": "heartbeat", "cursor": cursor})


async def snapshot(call: Call) -> web.StreamResponse:
    """GET snapshot: every record, and the cursor after which the events go on exactly from here."""
    return call.json(await call.engine.store.snapshot())


async def container(call: Call) -> web.StreamResponse:
    """GET containers/X: the native record with stages and story, and its cables."""
    seen = await look.one(call.engine, call.ref)
    return call.json({"container": seen.container, "endpoints": seen.endpoints})


async def info(call: Call) -> web.StreamResponse:
    """GET info: versions, what the kernel offers and what its lack costs, counts."""
    engine = call.engine
    view: dict[str, Any] = {
        "version": wire.VERSION,
        "api_version": wire.API_VERSION,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "root": str(engine.parts.config.root),
        "run_dir": str(engine.parts.config.run_dir),
        "instance": engine.parts.config.instance,
        "socket": str(engine.parts.config.socket_path),
        "cursor": engine.store.journal.cursor,
        "oldest_cursor": engine.store.journal.oldest_cursor,
        "counts": await counts(engine),
        "features": [to_builtins(feature, enc_hook=encode_hook) for feature in probe(engine.parts.cgroups)],
    }
    return call.json(view)
