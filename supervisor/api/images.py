"""Endpoints of images."""

from __future__ import annotations

from aiohttp import web

from hawse.supervisor.api import view_image
from hawse.supervisor.api.call import Call


async def listing(call: Call) -> web.StreamResponse:
    """GET /images/json."""
    images = await call.engine.store.read(lambda tx: tx.images())
    return call.json([view_image.summary(image) for image in images])


async def inspect(call: Call) -> web.StreamResponse:
    """GET /images/X/json."""
    return call.json(view_image.inspect(await call.engine.images.resolve(call.params["name"])))


async def history(call: Call) -> web.StreamResponse:
    """GET /images/X/history."""
    return call.json(view_image.history(await call.engine.images.resolve(call.params["name"])))


create = commit = tag = remove = inspect
