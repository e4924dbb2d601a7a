"""/hawse/v1: what Docker's API lacks.  A snapshot that says where its events go on, native records, tombstones."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from typing import Any

from aiohttp import web
from msgspec import to_builtins

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import look
from hawse.supervisor.api.endpoints.system import counts, obstacles
from hawse.supervisor.core.errors import NotFound
from hawse.supervisor.core.model import encode_hook
from hawse.supervisor.core.wishfields import shown


async def snapshot(call: Call) -> web.StreamResponse:
    """GET snapshot: every record, and the cursor after which the events go on exactly from here."""
    whole = await call.engine.store.snapshot()
    return call.json(replace(whole, containers=[shown(container) for container in whole.containers]))


async def container(call: Call) -> web.StreamResponse:
    """GET containers/X: the native record with stages and story, and its cables; a removed one's as it was last."""
    try:
        seen = await look.one(call.engine, call.ref)
    except NotFound as missing:
        try:
            removed = await call.engine.store.read(lambda tx: tx.tombstone(call.ref))
        except NotFound:
            raise missing from None
        return call.json({"container": shown(removed), "endpoints": (), "removed": True})
    return call.json({"container": shown(seen.container), "endpoints": seen.endpoints, "removed": False})


async def info(call: Call) -> web.StreamResponse:
    """GET info: versions, what this machine can do, tried anew, and what the lack of it costs, counts."""
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
        "durable": engine.parts.config.durable,
        "cursor": engine.store.journal.cursor,
        "oldest_cursor": engine.store.journal.oldest_cursor,
        "counts": await counts(engine),
        "warnings": obstacles(engine),
        "features": [to_builtins(feature, enc_hook=encode_hook) for feature in await engine.rehearsal.run()],
    }
    return call.json(view)


async def rehearse(call: Call) -> web.StreamResponse:
    """POST rehearsal: try anew whether this machine can run containers; the steps, as `features` of info."""
    return call.json([to_builtins(feature, enc_hook=encode_hook) for feature in await call.engine.rehearsal.run()])


async def shutdown(call: Call) -> web.StreamResponse:
    """POST shutdown: end the daemon; with stop_all its containers first.  The answer names the process to wait for."""
    call.engine.shut_down(stop_all=call.query.flag("stop_all"))
    return call.json({"pid": os.getpid()}, status=202)
