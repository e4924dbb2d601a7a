"""/hawse/v1/audit: what is off between the records and the world, and putting it right."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.reconcile.plan import Action


async def look(call: Call) -> web.StreamResponse:
    """GET audit: the plan, applied by nobody."""
    return call.json([view(action) for action in await call.engine.audit()] + await _foreign(call))


async def repair(call: Call) -> web.StreamResponse:
    """POST audit: the plan, carried out."""
    return call.json([view(action) for action in await call.engine.audit(repair=True)] + await _foreign(call))


async def _foreign(call: Call) -> list[dict[str, Any]]:
    """Return what other programs' rules keep from working: not ours to repair."""
    found = await call.engine.lookout.look()
    return [
        {
            "Object": obstacle.by,
            "Problem": obstacle.what,
            "Remedy": obstacle.remedy,
            "Network": network,
            "Container": "",
            "Foreign": True,
        }
        for network, obstacles in found.items()
        for obstacle in obstacles
    ]


def view(action: Action) -> dict[str, Any]:
    return {
        "Object": action.object,
        "Problem": action.problem,
        "Remedy": action.remedy,
        "Network": action.network,
        "Container": action.container_id,
        "Foreign": False,
    }
