"""Every endpoint, in one table: method, path, handler.  docs/docker-api.md is made from it.

A path's `{ref}` is one segment, `{name}` takes slashes too (image names).  Paths are unversioned here; router.py accepts
them with and without a /v1.NN in front.  What Docker has and hawse does not is in the table as well, so that a client gets
501 with a reason and not a 404 that it takes for a missing object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import (
    containers,
    disk,
    events,
    exec_,
    files,
    images,
    logs,
    networks,
    registries,
    streams,
    system,
    usage,
    volumes,
)
from hawse.supervisor.api.native import audit, hooks, metrics, past, records, subscriptions
from hawse.supervisor.api.native import events as native_events
from hawse.supervisor.api.wire import NATIVE
from hawse.supervisor.core.errors import NotImplementedYet, Unavailable

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`lacks` says what of Docker's endpoint is not served; with `absent` nothing of it is, and why, told with `status`.

    The answer of a `passing` one says what goes on at this moment, not that something was changed for good.
    """

    method: str
    path: str
    handle: Handler
    lacks: str = ""
    absent: str = ""
    status: int = 200
    passing: bool = False

    @property
    def is_kept(self) -> bool:
        """Tell whether its answer tells of a change that a power cut must not take back."""
        return self.method not in ("GET", "HEAD") and not self.passing


def _absent(why: str, *endpoints: str) -> Iterator[Route]:
    async def refuse(call: Call) -> web.StreamResponse:
        raise NotImplementedYet(f"{call.request.method} {call.request.path}: {why}")

    return _refusals(refuse, why, NotImplementedYet.status, endpoints)


def _without_swarm(why: str, *endpoints: str) -> Iterator[Route]:
    """In docker's words for a daemon that is in no swarm: with them its clients' clean-ups and listings go on."""

    async def refuse(call: Call) -> web.StreamResponse:
        raise Unavailable(why)

    return _refusals(refuse, why, Unavailable.status, endpoints)


def _refusals(refuse: Handler, why: str, status: int, endpoints: Iterable[str]) -> Iterator[Route]:
    for endpoint in endpoints:
        methods, path = endpoint.split()
        for method in methods.split("|"):
            yield Route(method, path, refuse, absent=why, status=status)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/_ping", system.ping),
    Route("HEAD", "/_ping", system.ping),
    Route("GET", "/version", system.version),
    Route("GET", "/info", system.info),
    Route(
        "GET",
        "/events",
        events.stream,
        lacks="what changes nothing and so is in no journal: attach, detach, resize, top, cp, export, exec_detach, prune",
    ),
    Route("GET", "/system/df", disk.usage),
    Route("GET", "/containers/json", containers.listing),
    Route(
        "POST",
        "/containers/create",
        containers.create,
        lacks="sharing of pid, ipc and uts namespaces, volumes-from, device requests, IPv6",
    ),
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
    Route("POST", "/containers/{ref}/wait", streams.wait, passing=True),
    Route("POST", "/containers/{ref}/attach", streams.attach, passing=True),
    Route("POST", "/containers/{ref}/resize", streams.resize, passing=True),
    Route("GET", "/containers/{ref}/logs", logs.stream),
    Route("GET", "/containers/{ref}/top", usage.top, lacks="forms of ps other than -ef, aux and -o"),
    Route("GET", "/containers/{ref}/stats", usage.stats),
    Route("HEAD", "/containers/{ref}/archive", files.stat_archive),
    Route("GET", "/containers/{ref}/archive", files.get_archive),
    Route("PUT", "/containers/{ref}/archive", files.put_archive),
    Route("GET", "/containers/{ref}/export", files.export),
    Route("GET", "/containers/{ref}/changes", files.changes),
    Route("POST", "/containers/{ref}/exec", exec_.create, passing=True),
    Route("POST", "/exec/{ref}/start", exec_.start, passing=True),
    Route("POST", "/exec/{ref}/resize", exec_.resize, passing=True),
    Route("GET", "/exec/{ref}/json", exec_.inspect),
    Route("POST", "/commit", images.commit),
    Route("GET", "/images/json", images.listing),
    Route("POST", "/images/create", images.create),
    Route("POST", "/images/prune", images.prune),
    Route("POST", "/auth", registries.login),
    Route("POST", "/images/{name}/push", registries.push),
    Route("GET", "/distribution/{name}/json", registries.distribution),
    Route("GET", "/images/{name}/json", images.inspect),
    Route("GET", "/images/{name}/history", images.history),
    Route("POST", "/images/{name}/tag", images.tag),
    Route("DELETE", "/images/{name}", images.remove),
    Route("POST", "/build/prune", disk.prune_builds),
    Route("GET", "/networks", networks.listing),
    Route(
        "POST",
        "/networks/create",
        networks.create,
        lacks="docker's other drivers, IPv6, more than one subnet, auxiliary addresses",
    ),
    Route("POST", "/networks/prune", disk.prune_networks),
    Route("GET", "/networks/{ref}", networks.inspect),
    Route("POST", "/networks/{ref}/connect", networks.connect),
    Route("POST", "/networks/{ref}/disconnect", networks.disconnect),
    Route("DELETE", "/networks/{ref}", networks.remove),
    Route("GET", "/volumes", volumes.listing),
    Route("POST", "/volumes/create", volumes.create, lacks="drivers other than local, driver options"),
    Route("POST", "/volumes/prune", volumes.prune),
    Route("GET", "/volumes/{ref}", volumes.inspect),
    Route("DELETE", "/volumes/{ref}", volumes.remove),
    Route("GET", f"{NATIVE}/info", records.info),
    Route("GET", f"{NATIVE}/snapshot", records.snapshot),
    Route("POST", f"{NATIVE}/rehearsal", records.rehearse),
    Route("POST", f"{NATIVE}/shutdown", records.shutdown),
    Route("GET", f"{NATIVE}/audit", audit.look),
    Route("POST", f"{NATIVE}/audit", audit.repair),
    Route("GET", f"{NATIVE}/events", native_events.events),
    Route("GET", f"{NATIVE}/metrics", metrics.metrics),
    Route("GET", f"{NATIVE}/past/containers", past.containers),
    Route("GET", f"{NATIVE}/leases", past.leases),
    Route("GET", f"{NATIVE}/history/{{name}}", past.history),
    Route("GET", f"{NATIVE}/subscriptions", subscriptions.listing),
    Route("POST", f"{NATIVE}/subscriptions", subscriptions.create),
    Route("GET", f"{NATIVE}/subscriptions/{{ref}}", subscriptions.inspect),
    Route("DELETE", f"{NATIVE}/subscriptions/{{ref}}", subscriptions.remove),
    Route("POST", f"{NATIVE}/subscriptions/{{ref}}/pause", subscriptions.pause),
    Route("POST", f"{NATIVE}/subscriptions/{{ref}}/resume", subscriptions.resume),
    Route("POST", f"{NATIVE}/subscriptions/{{ref}}/replay", subscriptions.replay),
    Route("POST", f"{NATIVE}/subscriptions/{{ref}}/ack", subscriptions.acknowledge, passing=True),  # else redelivered
    Route("GET", f"{NATIVE}/subscriptions/{{ref}}/events", subscriptions.events),
    Route("GET", f"{NATIVE}/containers/{{ref}}", records.container),
    Route("GET", f"{NATIVE}/hooks", hooks.listing),
    Route("GET", f"{NATIVE}/hooks/runs", hooks.runs),
    Route("POST", f"{NATIVE}/hooks/test", hooks.test),
    Route("POST", f"{NATIVE}/hooks/retry", hooks.retry),
    Route("POST", f"{NATIVE}/hooks/replay", hooks.replay),
    Route("POST", f"{NATIVE}/hooks/disable", hooks.disable),
    Route("POST", f"{NATIVE}/hooks/enable", hooks.enable),
    # what Docker has and hawse has not
    *_absent("hawse does not build images; import or commit one", "POST /build", "POST /session", "POST /grpc"),
    *_absent(
        "registries have no search of their own, only Docker's web site has: hub.docker.com", "GET /images/search"
    ),
    *_absent(
        "hawse does not read or write image archives yet; use export and import",
        "POST /images/load",
        "GET /images/get",
        "GET /images/{name}/get",
    ),
    *_absent("attach with an upgraded connection instead", "GET /containers/{ref}/attach/ws"),
    *_absent("hawse does not checkpoint containers", "GET|POST /containers/{ref}/checkpoints"),
    Route("GET", "/plugins/{name}/json", system.plugin),
    Route("GET", "/plugins", system.plugins),
    *_absent("hawse has no plugins", "POST|DELETE /plugins", "GET|POST|DELETE /plugins/{name}"),
    *_absent("hawse has no swarm mode", "POST /swarm/init", "POST /swarm/join"),
    *_without_swarm("This node is not part of a swarm", "POST /swarm/leave"),
    *_without_swarm(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
        "and try again.",
        "GET /swarm",
        "GET|POST /swarm/{name}",
        *(
            f"GET|POST|DELETE /{kind}{rest}"
            for kind in ("nodes", "services", "tasks", "secrets", "configs")
            for rest in ("", "/{name}")
        ),
    ),
)
