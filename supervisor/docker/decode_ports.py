"""PortBindings and ExposedPorts → the model's bindings.  Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from hawse.supervisor.core.model import PortBinding
from hawse.supervisor.docker.body import Body, invalid

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/([a-z]{2,5}))?\Z", re.IGNORECASE)
_PROTOCOLS = ("tcp", "udp", "sctp")


def bindings(outer: Body) -> tuple[PortBinding, ...]:
    """HostConfig.PortBindings: {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}; no entry at all means any free port."""
    given = outer.body("PortBindings")
    found: list[PortBinding] = []
    for key in given:
        port, last, proto = parse(given.path(key), key)
        if port != last:
            raise invalid(given.path(key), key, "one port; a range is one entry for each port")
        places = list(given.bodies(key)) if key in given else []
        if not places:
            found.append(PortBinding(container_port=port, proto=proto))
        found += [
            PortBinding(
                container_port=port, proto=proto, host_ip=_host_ip(place), host_port=first, host_port_last=final
            )
            for place in places
            for first, final in [_host_ports(place)]
        ]
    return tuple(dict.fromkeys(found))


def exposed(body: Body, published: tuple[PortBinding, ...]) -> tuple[str, ...]:
    """ExposedPorts, ranges written out, and what is published, as "80/tcp"."""
    given = body.body("ExposedPorts")
    found = []
    for key in given:
        first, last, proto = parse(given.path(key), key)
        found += [f"{port}/{proto}" for port in range(first, last + 1)]
    found += [f"{b.container_port}/{b.proto}" for b in published]
    return tuple(dict.fromkeys(found))


def parse(path: str, text: str) -> tuple[int, int, str]:
    """`80`, `80/udp`, `8000-8010/tcp` as (first, last, proto)."""
    match = _PORT.match(text)
    if not match:
        raise invalid(path, text, "PORT[-PORT][/tcp|udp|sctp]")
    first, proto = int(match[1]), (match[3] or "tcp").lower()
    last = int(match[2] or first)
    if proto not in _PROTOCOLS:
        raise invalid(path, text, f"one of the protocols {', '.join(_PROTOCOLS)}")
    if not 1 <= first <= last <= 65_535:
        raise invalid(path, text, "a port between 1 and 65535, the first of a range not above its last")
    return first, last, proto


def _host_ip(place: Body) -> IPv4Address | None:
    if place.text("HostIp") in ("0.0.0.0", "::"):
        return None
    return place.address("HostIp")


def _host_ports(place: Body) -> tuple[int, int]:
    """`8080` as (8080, 0), `8000-8010` as (8000, 8010): any free one of them."""
    text = place.text("HostPort")
    if not text:
        return 0, 0
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    first, last = (int(match[1]), int(match[2] or 0)) if match else (-1, 0)
    if first < 0 or max(first, last) > 65_535 or (match and match[2] and not 1 <= first <= last):
        raise invalid(place.path("HostPort"), text, "a port between 0 and 65535, 0 being any free one, or FIRST-LAST")
    return first, 0 if last == first else last
