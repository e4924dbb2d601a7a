"""Endpoints of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hawse.supervisor.api.call import Call
from hawse.supervisor.core.errors import Conflict, NotFound, UserError
from hawse.supervisor.core.model import Container, ContainerId, Endpoint, Network
from hawse.supervisor.docker import view_network
from hawse.supervisor.docker.body import Body, invalid
from hawse.supervisor.docker.decode import settings
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.lifecycle.networks import BUILTIN, DEFAULT
from hawse.supervisor.store.tx import Tx

FILTERS = frozenset("dangling driver id label name scope type".split())


async def listing(call: Call) -> web.StreamResponse:
    """GET /networks: the built-in ones too."""
    wanted = call.filters(FILTERS)
    for kind in wanted.get("type"):
        if kind not in ("builtin", "custom"):
            raise UserError(f"invalid filter: 'type'='{kind}'", hint="builtin or custom")
    networks = await call.engine.networks.all()
    used = {e.network for e in await call.engine.endpoints()}
    return call.json([view_network.network(n) for n in networks if _matches(n, wanted, n.name in used)])


def _matches(network: Network, wanted: Filters, used: bool) -> bool:
    builtin = network.name in BUILTIN or network.name == DEFAULT
    dangling = wanted.flag("dangling")
    return (
        wanted.pattern("name", network.name)
        and wanted.prefix("id", network.id)
        and wanted.exact("driver", network.driver)
        and wanted.exact("scope", "local")
        and wanted.exact("type", "builtin" if builtin else "custom")
        and wanted.labels(network.labels)
        and (dangling is None or dangling == (not used and not builtin))
    )


async def create(call: Call) -> web.StreamResponse:
    """POST /networks/create: a bridge; without a subnet a free one is chosen."""
    asked = decode(await call.body())
    network = await call.engine.networks.create(**asked.settings)
    return call.json({"Id": network.id, "Warning": asked.warning}, 201)


@dataclass(frozen=True, slots=True)
class Asked:
    """Arguments of Networks.create, and what will not be done (for the answer's Warning)."""

    settings: dict[str, Any]
    warning: str


def decode(body: Body) -> Asked:
    """Read the body of POST /networks/create.  Raises UserError."""
    subnet, gateway, ip_range = _ipam(body.body("IPAM"))
    if body.flag("EnableIPv6"):
        raise invalid("EnableIPv6", True, "false: hawse's networks are IPv4 only")
    if not body.flag("EnableIPv4", default=True):
        raise invalid("EnableIPv4", False, "true: hawse's networks are IPv4 only")
    for field in ("Ingress", "ConfigOnly"):
        if body.flag(field):
            raise invalid(field, True, "false: hawse has no swarm mode")
    if body.body("ConfigFrom").text("Network"):
        raise invalid(
            "ConfigFrom.Network", body.body("ConfigFrom").text("Network"), "absent: give the settings themselves"
        )
    if body.text("Scope") not in ("", "local"):
        raise invalid("Scope", body.text("Scope"), "local")
    attachable = "Attachable is of swarm's networks and was discarded" if body.flag("Attachable") else ""
    settings = {
        "name": body.text("Name"),
        "driver": body.text("Driver") or "bridge",
        "subnet": subnet,
        "gateway": gateway,
        "ip_range": ip_range,
        "internal": body.flag("Internal"),
        "labels": body.strings_map("Labels"),
        "options": body.strings_map("Options"),
    }
    return Asked(settings, attachable)


def _ipam(ipam: Body) -> tuple[str, str, str]:
    """Subnet, gateway and address range.  One IPv4 subnet at most."""
    if ipam.text("Driver") not in ("", "default"):
        raise invalid(ipam.path("Driver"), ipam.text("Driver"), "default")
    if options := ipam.strings_map("Options"):
        raise invalid(ipam.path("Options"), options, "absent: there are none")
    pools = list(ipam.bodies("Config"))
    if len(pools) > 1:
        raise invalid(ipam.path("Config"), [], "one subnet at most")
    if not pools:
        return "", "", ""
    for field in ("AuxiliaryAddresses", "AuxAddress"):
        if field in pools[0]:
            raise invalid(pools[0].path(field), "given", "absent: addresses are taken from the whole subnet")
    return pools[0].text("Subnet"), pools[0].text("Gateway"), pools[0].text("IPRange")


async def inspect(call: Call) -> web.StreamResponse:
    """GET /networks/X: with the containers that are plugged in."""
    ref = call.ref
    network = next((n for n in await call.engine.networks.all() if ref in (n.name, n.id)), None)
    network = network or await call.engine.networks.find(ref)

    def plugged(tx: Tx) -> tuple[list[Endpoint], dict[ContainerId, Container]]:
        endpoints = [e for e in tx.endpoints(network=network.name) if e.connected_at]
        found = [tx.container(e.container_id) for e in endpoints]
        return endpoints, {c.id: c for c in found if c is not None}

    endpoints, containers = await call.engine.store.read(plugged)
    return call.json(view_network.network(network, endpoints, containers))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE /networks/X: refused while containers are plugged in."""
    await call.engine.networks.remove(call.ref)
    return call.nothing()


async def connect(call: Call) -> web.StreamResponse:
    """POST /networks/X/connect: a running container is plugged in at once."""
    body = await call.body()
    request = settings(call.ref, body.body("EndpointConfig"))
    await call.engine.connect(_container(body), call.ref, request)
    return call.nothing(200)


async def disconnect(call: Call) -> web.StreamResponse:
    """POST /networks/X/disconnect: its ports move to another network; with Force one that is not on it is fine."""
    body = await call.body()
    await call.engine.networks.find(call.ref)
    try:
        await call.engine.disconnect(_container(body), call.ref)
    except (NotFound, Conflict):
        if not body.flag("Force"):
            raise
    return call.nothing(200)


def _container(body: Body) -> str:
    ref = body.text("Container")
    if not ref:
        raise invalid("Container", ref, "a container's name or id")
    return ref
