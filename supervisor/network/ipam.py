"""Which address a container gets: a function over a subnet and what is taken.  Pure.

The store's UNIQUE(network, address) guards the result; nothing is remembered here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network

from hawse.supervisor.core.errors import Conflict, UserError


def allocate(
    subnet: IPv4Network,
    gateway: IPv4Address,
    taken: Collection[IPv4Address],
    requested: IPv4Address | None = None,
    hint: IPv4Address | None = None,
    *,
    within: IPv4Network | None = None,
    network: str = "",
    owner: Callable[[IPv4Address], str] | None = None,
) -> IPv4Address:
    """The requested address, or the next free one after `hint` (the one given last), so that a freed one rests.

    `within` is the part of the subnet that the next free one is taken from; a requested one may be anywhere.
    Never the network's own, the gateway's or the broadcast address.  `owner` names who has a taken one.
    Raises UserError for an address that nobody can have, Conflict when it is taken or none is left.
    """
    name = f"{network} ({subnet})" if network else str(subnet)
    if requested is not None:
        return _check(requested, subnet, gateway, taken, name, owner)
    first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
    if within is not None:
        first, last = max(first, int(within.network_address)), min(last, int(within.broadcast_address))
    begin = int(hint) + 1 if hint is not None and first <= int(hint) < last else first
    size = last - first + 1
    # Among one more than are used one is free; the gateway is used too.  `taken` may be a question to a database each.
    for offset in range(min(size, len(taken) + 2)):
        candidate = IPv4Address(first + (begin - first + offset) % size)
        if candidate != gateway and candidate not in taken:
            return candidate
    raise Conflict(
        f"no available IPv4 addresses on this network's address pools: {name}",
        hint=f"all {size - (first <= int(gateway) <= last)} are taken by containers, stopped ones included; "
        f"remove some or use a larger {'address range' if within else 'subnet'}",
    )


def _check(
    address: IPv4Address,
    subnet: IPv4Network,
    gateway: IPv4Address,
    taken: Collection[IPv4Address],
    name: str,
    owner: Callable[[IPv4Address], str] | None,
) -> IPv4Address:
    if address not in subnet:
        raise UserError(f"no configured subnet contains IP address {address}", hint=f"the network is {name}")
    for reserved, what in (
        (subnet.network_address, "the network's own address"),
        (subnet.broadcast_address, "the broadcast address"),
        (gateway, "the gateway"),
    ):
        if address == reserved:
            raise UserError(f"IP address {address} cannot be given to a container: it is {what} of {name}")
    if address in taken:
        raise Conflict(
            f"Address already in use: {address} on network {name}", hint=f"by {owner(address)}" if owner else ""
        )
    return address
