"""Which subnet a network gets, and whether one that a user gave can be used.  Pure.

Checked against our networks and against the host's live routes, since a subnet that a VPN or the LAN has makes both
unreachable (moby#48069, #50011, for-linux#599).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError, ip_address, ip_interface
from typing import NamedTuple

from hawse.supervisor.core.errors import Conflict, UserError

POOL_PREFIX = 24  # what a pool is cut into
MIN_ROUTE_PREFIX = 4  # shorter ones are default routes in disguise (0.0.0.0/1 and 128.0.0.0/1 of a VPN)

_UNUSABLE = (
    (IPv4Network("0.0.0.0/8"), "this host on this network"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)


class LiveRoute(NamedTuple):
    """A destination that the host reaches through a device now."""

    network: IPv4Network
    device: str


def parse(subnet: str, gateway: str = "") -> tuple[IPv4Network, IPv4Address]:
    """`10.10.10.0/24` and a gateway; a host part in the subnet (`10.10.10.1/24`) is the gateway; else the first address is.

    Raises UserError.
    """
    try:
        given = ip_interface(subnet)
    except (AddressValueError, NetmaskValueError, ValueError) as e:
        raise UserError(f"invalid subnet {subnet}: not an address and prefix length", hint="like 10.10.10.0/24") from e
    if given.version == 6:
        raise UserError(f"invalid subnet {subnet}: IPv6 networks are not supported")
    if "/" not in subnet:
        raise UserError(f"invalid subnet {subnet}: the prefix length is missing", hint=f"{subnet}/24?")
    network = IPv4Network(given.network)
    if network.prefixlen > 30:
        raise UserError(
            f"invalid subnet {subnet}: too small, it needs room for a gateway and a container", hint="at most /30"
        )
    if network.prefixlen < 8:
        raise UserError(f"invalid subnet {subnet}: too large", hint="at least /8")
    for unusable, what in _UNUSABLE:
        if network.overlaps(unusable):
            raise UserError(f"invalid subnet {subnet}: {unusable} is {what}")
    host = IPv4Address(given.ip)
    if host == network.network_address:
        return network, check_gateway(network, gateway) if gateway else network.network_address + 1
    chosen = check_gateway(network, str(host))
    if gateway and check_gateway(network, gateway) != chosen:
        raise UserError(
            f"invalid subnet {subnet}: its host part {host} is the gateway, but the gateway {gateway} was given too",
            hint=f"use {network}",
        )
    return network, chosen


def check_gateway(subnet: IPv4Network, gateway: str) -> IPv4Address:
    """Raises UserError for what cannot be the gateway of the subnet."""
    try:
        address = ip_address(gateway)
    except ValueError as e:
        raise UserError(f"invalid gateway {gateway}: not an IP address") from e
    if not isinstance(address, IPv4Address) or address not in subnet:
        raise UserError(f"invalid gateway {gateway}: no matching subnet for gateway, the network is {subnet}")
    if address in (subnet.network_address, subnet.broadcast_address):
        raise UserError(f"invalid gateway {gateway}: it is the network's own or the broadcast address of {subnet}")
    return address


def check_range(subnet: IPv4Network, text: str) -> IPv4Network:
    """The part of the subnet that addresses are taken from.  Raises UserError."""
    try:
        part = IPv4Network(text, strict=False)
    except ValueError as e:
        raise UserError(
            f"invalid ip-range {text}: not an address and prefix length", hint="like 10.10.10.128/25"
        ) from e
    if not part.subnet_of(subnet):
        raise UserError(f"invalid ip-range {text}: no matching subnet for range, the network is {subnet}")
    return part


def check_free(subnet: IPv4Network, routes: Sequence[LiveRoute], used: Mapping[str, IPv4Network]) -> None:
    """Raises Conflict that names the network or route that overlaps."""
    if why := _overlap(subnet, routes, used):
        raise Conflict(
            f"invalid pool request: Pool overlaps with other one on this address space: {subnet} overlaps {why}",
            hint="choose another --subnet, or none to have a free one chosen",
        )


def choose(pools: Sequence[str], routes: Sequence[LiveRoute], used: Mapping[str, IPv4Network]) -> IPv4Network:
    """The first free part of the pools.  Raises Conflict when there is none."""
    tried = 0
    for candidate in _candidates(pools):
        tried += 1
        if not _overlap(candidate, routes, used):
            return candidate
    raise Conflict(
        "all predefined address pools have been fully subnetted",
        hint=f"each of the {tried} subnets of {', '.join(pools)} overlaps a network or a route; "
        "use --subnet, or add to address_pools",
    )


def _candidates(pools: Sequence[str]) -> Iterator[IPv4Network]:
    for text in pools:
        try:
            pool = IPv4Network(text)
        except ValueError as e:
            raise UserError(f"configuration address_pools: {text} is not a subnet: {e}") from e
        yield from [pool] if pool.prefixlen >= POOL_PREFIX else pool.subnets(new_prefix=POOL_PREFIX)


def _overlap(subnet: IPv4Network, routes: Sequence[LiveRoute], used: Mapping[str, IPv4Network]) -> str:
    for name, other in used.items():
        if subnet.overlaps(other):
            return f"network {name} ({other})"
    for route in routes:
        if route.network.prefixlen >= MIN_ROUTE_PREFIX and subnet.overlaps(route.network):
            return f"the host's route {route.network} on {route.device or 'no device'}"
    return ""
