"""Published ports before anything is made: checked, a free one found where any will do, and the answer to who has it.

Pure: the ports are had through `hold` (linux/heldports.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from msgspec.structs import replace

from hawse.supervisor.core.errors import Conflict, UserError
from hawse.supervisor.core.model import Container, PortBinding, PortReservation

PROTOCOLS = ("tcp", "udp", "sctp")
FREE_RANGE = range(32_768, 61_000)  # where docker looks for one

InUse = Callable[[str, int], Sequence[PortReservation]]
"""Which containers have a host port: asked for one port at a time, so that thousands of others cost nothing."""

Hold = Callable[[PortBinding], str]
"""Have a host port: "", or who else has it: "process nginx (pid 12)".  Raises UserError for an address not of this host."""


def check(bindings: Iterable[PortBinding]) -> None:
    """Raises UserError for what can never be published, Conflict for two bindings that exclude each other."""
    seen: dict[tuple[str, int], list[PortBinding]] = {}
    for binding in bindings:
        if binding.proto not in PROTOCOLS:
            raise UserError(f"invalid proto: {binding.proto}", hint=f"one of {', '.join(PROTOCOLS)}")
        if not 1 <= binding.container_port <= 65_535:
            raise UserError(f"invalid containerPort: {binding.container_port}")
        if not 0 <= binding.host_port <= max(binding.host_port, binding.host_port_last) <= 65_535:
            raise UserError(f"invalid hostPort: {binding.host_port}")
        if binding.host_ip is not None and (
            binding.host_ip.is_multicast or binding.host_ip == IPv4Address("255.255.255.255")
        ):
            raise UserError(f"invalid IP address: {binding.host_ip} is not an address of this host")
        if binding.host_port and not binding.host_port_last:
            same = seen.setdefault((binding.proto, binding.host_port), [])
            if any(overlap(binding, other) for other in same):
                raise Conflict(f"host port {binding.place} is published twice by the same container")
            same.append(binding)


def resolve(
    bindings: Sequence[PortBinding],
    in_use: InUse,
    container: Container,
    hold: Hold = lambda binding: "",
) -> tuple[PortBinding, ...]:
    """The bindings with every host port decided and had.

    Raises Conflict in docker's words, saying by whom; UserError.  What it had until then is the caller's to release.
    """
    check(bindings)

    def reserved_by(binding: PortBinding) -> str:
        for other in in_use(binding.proto, binding.host_port):
            if other.container_id != container.id and overlap(binding, other.binding):
                return f"by container {other.container_name} ({other.container_id[:12]})"
        return ""

    decided = [b for b in bindings if b.host_port and not b.host_port_last]
    for binding in decided:
        if who := reserved_by(binding):
            raise _failed(container, binding, "port is already allocated", who)
        if who := hold(binding):
            raise _failed(container, binding, "address already in use", f"by {who}")
    resolved = []
    start = _start(container)
    for binding in bindings:
        if binding.host_port and not binding.host_port_last:
            resolved.append(binding)
            continue
        first, last = binding.host_port or FREE_RANGE[0], binding.host_port_last or FREE_RANGE[-1]
        for port in range(first, last + 1) if binding.host_port else _rotated(start):
            candidate = replace(binding, host_port=port, host_port_last=0)
            if not (any(overlap(candidate, d) for d in decided) or reserved_by(candidate) or hold(candidate)):
                break
        else:
            raise _failed(container, binding, "all ports are allocated", f"none of {first}-{last} is free")
        start = start if binding.host_port else candidate.host_port + 1
        decided.append(candidate)
        resolved.append(candidate)
    return tuple(resolved)


def overlap(one: PortBinding, other: PortBinding) -> bool:
    """Tell whether a packet could be meant for both: every address of the host includes each of them."""
    return (
        one.proto == other.proto
        and one.host_port == other.host_port
        and (one.host_ip == other.host_ip or every_address(one) or every_address(other))
    )


def every_address(binding: PortBinding) -> bool:
    return binding.host_ip is None or binding.host_ip.is_unspecified


def _start(container: Container) -> int:
    """Return where the search begins: the same for one container at each start, so that it likely gets its port again."""
    return FREE_RANGE[int(container.id[:8], 16) % len(FREE_RANGE)]


def _rotated(start: int) -> Iterator[int]:
    yield from range(start, FREE_RANGE.stop)
    yield from range(FREE_RANGE.start, min(start, FREE_RANGE.stop))


def _failed(container: Container, binding: PortBinding, why: str, hint: str) -> Conflict:
    return Conflict(
        f"driver failed programming external connectivity on endpoint {container.name} ({container.id}): "
        f"Bind for {binding.host_ip or '0.0.0.0'}:{binding.host_port} failed: {why}",
        hint=hint,
    )
