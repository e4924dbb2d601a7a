"""`--publish` and `--expose`: `[IP:][HOST[-LAST]:]CONTAINER[-LAST][/tcp|udp|sctp]`, in Docker's words when it is wrong."""

from __future__ import annotations

import re

from hawse.cli.errors import Failure

Places = dict[str, list[dict[str, str]]]
_PROTOCOLS = ("tcp", "udp", "sctp")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\Z")


def published(specs: list[str]) -> Places:
    """PortBindings: container port → where on the host.  Raises Failure."""
    bindings: Places = {}
    for spec in specs:
        address, host, inside, proto = _split(spec)
        first, last = _range(inside, "containerPort")
        host_first, host_last = _range(host, "hostPort") if host else (0, 0)
        if host and last - first != host_last - host_first and first != last:
            raise Failure(f"invalid ranges specified for container and host Ports: {inside} and {host}")
        for offset in range(last - first + 1):
            if not host:
                outside = ""
            elif first == last and host_first != host_last:
                outside = f"{host_first}-{host_last}"  # any free one of these
            else:
                outside = str(host_first + offset)
            place = {"HostIp": address, "HostPort": outside}
            bindings.setdefault(f"{first + offset}/{proto}", []).append(place)
    return bindings


def exposed(specs: list[str]) -> list[str]:
    """`--expose 80`, `--expose 8000-8010/udp` as `80/tcp`, each port of a range.  Raises Failure."""
    found = []
    for spec in specs:
        if ":" in spec:
            raise Failure(f"invalid port format for --expose: {spec}")
        port, proto = _protocol(spec)
        first, last = _range(port, "port")
        found += [f"{number}/{proto}" for number in range(first, last + 1)]
    return found


def _split(spec: str) -> tuple[str, str, str, str]:
    rest, proto = _protocol(spec)
    head, _, inside = rest.rpartition(":")
    address, _, host = head.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif address and not _is_ipv4(address):
        raise Failure(f"invalid IP address: {address}")
    if not inside:
        raise Failure(f"no port specified: {spec}<empty>")
    return address, host, inside, proto


def _protocol(spec: str) -> tuple[str, str]:
    port, slash, proto = spec.partition("/")
    proto = proto.lower() if slash else "tcp"
    if proto not in _PROTOCOLS:
        raise Failure(f"invalid proto: {proto}")
    return port, proto


def _range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = _number(first)
        high = _number(last) if dash else low
    except ValueError:
        raise Failure(f"invalid {what}: {text}") from None
    if low > high:
        raise Failure(f"invalid {what}: {text}: the range ends before it begins")
    return low, high


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise ValueError(text)
    return int(text)


def _is_ipv4(text: str) -> bool:
    return bool(_ADDRESS.match(text)) and all(int(part) < 256 for part in text.split("."))
