"""Every endpoint, in one table: method, path, handler.  docs/docker-api.md is made from it.

A path's `{ref}` is one segment, `{name}` takes slashes too (image names).  Paths are unversioned here; the router accepts
them with and without a /v1.NN in front.  What Docker has and hawse does not is in the table as well, so that a client gets
501 with a reason and not a 404 that it takes for a missing object.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from hawse.supervisor.api import (
    audit,
    containers,
    disk,
    events,
    exec_,
    files,
    images,
    logs,
    native,
    networks,
    streams,
    system,
    usage,
    volumes,
)
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.wire import API_VERSION, MIN_API_VERSION, NATIVE
from hawse.supervisor.errors import NotFound, NotImplementedYet, UserError

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handle: Handler


def _absent(why: str) -> Handler:
    async def refuse(call: Call) -> web.StreamResponse:
        raise NotImplementedYet(f"{call.request.method} {call.request.path}: {why}")

    return refuse


_SWARM = _absent("hawse has no swarm mode")
_BUILD = _absent("hawse does not build images; import or commit one")
_REGISTRY = _absent("hawse does not talk to registries yet; import an image from a tar file")
_PLUGINS = _absent("hawse has no plugins")
_CHECKPOINT = _absent("hawse does not checkpoint containers")

ROUTES: tuple[Route, ...] = (
    Route("GET", "/_ping", system.ping),
    Route("HEAD", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route("GET", "/events", events.stream),
    Route("GET", "/system/df", disk.usage),
    Route("GET", "/containers/json", containers.listing),
    Route("POST", "/containers/create", containers.create),
    Route("POST", "/containers/prune", disk.prune_containers),
    Route("GET", "/containers/{ref}/json", containers.inspect),
    Route("POST", "/containers/{ref}/start", containers.start),
    Route("POST", "/containers/{ref}/stop", containers.stop),
    Route("POST", "/containers/{ref}/restart", containers.restart),
    Route("POST", "/containers/{ref}/kill", containers.kill),
    Route("POST", "/containers/{ref}/pause", containers.pause),
    Route("POST", "/containers/{ref}/unpause", containers.unpause),
    Route("POST", "/containers/{ref}/rename", containers.rename),
    Route("POST", "/containers/{ref}/update", containers.update),
    Route("DELETE", "/containers/{ref}", containers.remove),
    Route("POST", "/containers/{ref}/wait", streams.wait),
    Route("POST", "/containers/{ref}/attach", streams.attach),
    Route("POST", "/containers/{ref}/resize", streams.resize),
    Route("GET", "/containers/{ref}/logs", logs.stream),
    Route("GET", "/containers/{ref}/top", usage.top),
    Route("GET", "/containers/{ref}/stats", usage.stats),
    Route("HEAD", "/containers/{ref}/archive", files.stat_archive),
    Route("GET", "/containers/{ref}/archive", files.get_archive),
    Route("PUT", "/containers/{ref}/archive", files.put_archive),
    Route("GET", "/containers/{ref}/export", files.export),
    Route("GET", "/containers/{ref}/changes", files.changes),
    Route("POST", "/containers/{ref}/exec", exec_.create),
    Route("POST", "/exec/{ref}/start", exec_.start),
    Route("POST", "/exec/{ref}/resize", exec_.resize),
    Route("GET", "/exec/{ref}/json", exec_.inspect),
    Route("POST", "/commit", images.commit),
    Route("GET", "/images/json", images.listing),
    Route("POST", "/images/create", images.create),
    Route("POST", "/images/prune", images.prune),
    Route("GET", "/images/{name}/json", images.inspect),
    Route("GET", "/images/{name}/history", images.history),
    Route("POST", "/images/{name}/tag", images.tag),
    Route("DELETE", "/images/{name}", images.remove),
    Route("POST", "/build/prune", disk.prune_builds),
    Route("GET", "/networks", networks.listing),
    Route("POST", "/networks/create", networks.create),
    Route("POST", "/networks/prune", disk.prune_networks),
    Route("GET", "/networks/{ref}", networks.inspect),
    Route("POST", "/networks/{ref}/connect", networks.connect),
    Route("POST", "/networks/{ref}/disconnect", networks.disconnect),
    Route("DELETE", "/networks/{ref}", networks.remove),
    Route("GET", "/volumes", volumes.listing),
    Route("POST", "/volumes/create", volumes.create),
    Route("POST", "/volumes/prune", volumes.prune),
    Route("GET", "/volumes/{ref}", volumes.inspect),
    Route("DELETE", "/volumes/{ref}", volumes.remove),
    Route("GET", f"{NATIVE}/info", native.info),
    Route("GET", f"{NATIVE}/snapshot", native.snapshot),
    Route("GET", f"{NATIVE}/audit", audit.look),
    Route("POST", f"{NATIVE}/audit", audit.repair),
    Route("GET", f"{NATIVE}/events", native.events),
    Route("GET", f"{NATIVE}/containers/{{ref}}", native.container),
    # what Docker has and hawse has not
    *(
        Route(method, path, refuse)
        for refuse, methods, paths in (
            (_BUILD, ("POST",), ("/build", "/session", "/grpc")),
            (_REGISTRY, ("POST",), ("/images/{name}/push", "/auth")),
            (_REGISTRY, ("GET",), ("/images/search", "/distribution/{name}/json")),
            (_PLUGINS, ("GET", "POST", "DELETE"), ("/plugins", "/plugins/{name}")),
            (_CHECKPOINT, ("GET", "POST"), ("/containers/{ref}/checkpoints",)),
            (
                _SWARM,
                ("GET", "POST", "DELETE"),
                tuple(
                    path
                    for kind in ("swarm", "nodes", "services", "tasks", "secrets", "configs")
                    for path in (f"/{kind}", f"/{kind}/{{name}}")
                ),
            ),
        )
        for method in methods
        for path in paths
    ),
)

_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,4})(?=/)")
_LATEST = tuple(map(int, API_VERSION.split(".")))
_OLDEST = tuple(map(int, MIN_API_VERSION.split(".")))


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    params: Mapping[str, str]
    version: tuple[int, int]


class Router:
    """Finds the route of a request; by the path's first segment first, so that the cost does not grow with the table."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" in route.path:
                self._patterns.setdefault(_segment(route.path), []).append((_pattern(route.path), route))
            else:
                self._exact[route.method, route.path] = route

    def match(self, method: str, path: str) -> Match:
        """`path` as it came, still percent-encoded.  Raises NotFound, or UserError for a version nobody speaks."""
        version = (_LATEST[0], _LATEST[1])
        if versioned := _VERSION.match(path):
            version = (int(versioned[1]), int(versioned[2]))
            _check(version)
            path = path[versioned.end() :]
        if route := self._exact.get((method, path)):
            return Match(route, {}, version)
        for pattern, route in self._patterns.get(_segment(path), ()):
            if route.method == method and (found := pattern.fullmatch(path)):
                return Match(route, {key: unquote(value) for key, value in found.groupdict().items()}, version)
        raise NotFound("page not found", hint=f"no endpoint {method} {path[:200]}")


def _check(version: tuple[int, ...]) -> None:
    name = ".".join(map(str, version))
    if version > _LATEST:
        raise UserError(f"client version {name} is too new. Maximum supported API version is {API_VERSION}")
    if version < _OLDEST:
        raise UserError(
            f"client version {name} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )


def _segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _pattern(path: str) -> re.Pattern[str]:
    escaped = re.escape(path).replace(r"\{ref\}", "(?P<ref>[^/]+)").replace(r"\{name\}", "(?P<name>.+)")
    return re.compile(escaped)
