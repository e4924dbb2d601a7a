"""Networks and endpoints in Docker's JSON.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.model import Container, ContainerId, Endpoint, EndpointRequest, Network


def network(
    record: Network, endpoints: Iterable[Endpoint] = (), containers: Mapping[ContainerId, Container] | None = None
) -> dict[str, Any]:
    """GET /networks/X; the list has the same fields without Containers filled in.

    Options are those that were asked for and no others: docker-compose makes a network anew when it finds one more.
    """
    names = containers or {}
    config = []
    if record.subnet is not None:
        config = [{"Subnet": str(record.subnet), "Gateway": str(record.gateway or "")}]
        if record.ip_range is not None:
            config[0]["IPRange"] = str(record.ip_range)
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": rfc3339(record.created_at),
        "Scope": "local",
        "Driver": record.driver,
        "EnableIPv4": record.subnet is not None,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "Internal": record.internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            e.container_id: {
                "Name": names[e.container_id].name if e.container_id in names else "",
                "EndpointID": endpoint_id(e.container_id, record.id),
                "MacAddress": e.mac,
                "IPv4Address": f"{e.address}/{e.prefix}",
                "IPv6Address": "",
            }
            for e in endpoints
        },
        "Options": record.options,
        "Labels": record.labels,
        "Hawse": {"Bridge": record.device},
    }


def endpoint(
    container_id: str, network_id: str, request: EndpointRequest | None, plugged: Endpoint | None
) -> dict[str, Any]:
    """Show one entry of NetworkSettings.Networks: what was asked, and the cable when it is plugged in."""
    fixed = str(request.ip) if request and request.ip else ""
    aliases = list(request.aliases) if request and request.aliases else None
    return {
        "IPAMConfig": {"IPv4Address": fixed} if fixed else None,
        "Links": list(request.links) or None if request else None,
        "Aliases": aliases,
        "MacAddress": plugged.mac if plugged else "",
        "DriverOpts": request.driver_opts or None if request else None,
        "GwPriority": 0,
        "NetworkID": network_id,
        "EndpointID": endpoint_id(container_id, network_id) if plugged else "",
        "Gateway": str(plugged.gateway or "") if plugged else "",
        "IPAddress": str(plugged.address) if plugged else "",
        "IPPrefixLen": plugged.prefix if plugged else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": aliases,
    }


def endpoint_id(container_id: str, network_id: str) -> str:
    """Docker has an id for each endpoint; ours follows from the two that it joins."""
    return hashlib.sha256(f"{container_id}/{network_id}".encode()).hexdigest()
