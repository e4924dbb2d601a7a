"""Addresses: never a reserved one, never one twice, and an end that is said."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import Conflict, UserError
from hawse.supervisor.network import ipam


def capacity(subnet: IPv4Network) -> int:
    return subnet.num_addresses - 3  # network, gateway, broadcast


SUBNETS = st.builds(
    lambda base, prefix: IPv4Network((base, prefix), strict=False),
    st.integers(0x0A00_0000, 0x0AFF_FFFF),
    st.integers(20, 30),
)


@given(SUBNETS, st.data())
def test_a_subnet_is_filled_to_the_last_address(subnet: IPv4Network, data: st.DataObject) -> None:
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    gateway = IPv4Address(data.draw(st.integers(first + 1, last - 1)))
    count = data.draw(st.integers(0, min(capacity(subnet), 40)))
    hosts = st.integers(first + 1, last - 1).map(IPv4Address).filter(lambda a: a != gateway)
    taken = set(data.draw(st.lists(hosts, max_size=40, unique=True)))
    hint = data.draw(st.none() | st.integers(first, last).map(IPv4Address))
    for _ in range(count):
        if len(taken) >= capacity(subnet):
            break
        address = ipam.allocate(subnet, gateway, taken, hint=hint)
        assert address in subnet
        assert address not in taken
        assert address not in (subnet.network_address, subnet.broadcast_address, gateway)
        taken.add(address)
        hint = address


def test_a_full_subnet_says_so_with_counts() -> None:
    subnet, gateway = IPv4Network("10.0.0.0/29"), IPv4Address("10.0.0.1")
    taken: set[IPv4Address] = set()
    for _ in range(5):
        taken.add(ipam.allocate(subnet, gateway, taken))
    assert sorted(map(str, taken)) == [f"10.0.0.{n}" for n in range(2, 7)]
    with pytest.raises(Conflict, match=r"no available IPv4 addresses .*: small \(10\.0\.0\.0/29\) \(all 5 are taken"):
        ipam.allocate(subnet, gateway, taken, network="small")


def test_a_freed_address_rests_until_the_others_have_been_given() -> None:
    subnet, gateway = IPv4Network("10.0.0.0/29"), IPv4Address("10.0.0.1")
    given_, hint = [], None
    for _ in range(7):
        hint = ipam.allocate(subnet, gateway, (), hint=hint)
        given_.append(int(hint) & 0xFF)
    assert given_ == [2, 3, 4, 5, 6, 2, 3]


def test_large_subnets_do_not_overflow_an_octet() -> None:
    """The article's program handed out the broadcast address, and ran over the last octet."""
    subnet, gateway = IPv4Network("10.0.0.0/16"), IPv4Address("10.0.0.1")
    assert ipam.allocate(subnet, gateway, (), hint=IPv4Address("10.0.0.255")) == IPv4Address("10.0.1.0")
    assert ipam.allocate(subnet, gateway, (), hint=IPv4Address("10.0.255.254")) == IPv4Address("10.0.0.2")


def test_the_arguments_are_not_changed() -> None:
    """The article's program changed the shared gateway when it released an address."""
    taken = {IPv4Address("10.0.0.2")}
    ipam.allocate(IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), taken)
    assert taken == {IPv4Address("10.0.0.2")}


def test_a_requested_address_is_given() -> None:
    asked = IPv4Address("10.0.0.77")
    assert ipam.allocate(IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), (), requested=asked) == asked


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.1.2", "no configured subnet contains IP address 10.0.1.2"),
        ("10.0.0.0", "the network's own address"),
        ("10.0.0.255", "broadcast"),
        ("10.0.0.1", "gateway"),
    ],
)
def test_an_address_that_nobody_can_have(address: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        ipam.allocate(IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), (), requested=IPv4Address(address))


def test_a_taken_address_says_by_whom() -> None:
    taken = {IPv4Address("10.0.0.2"): "web"}
    with pytest.raises(Conflict, match=r"Address already in use: 10\.0\.0\.2 .*by container web"):
        ipam.allocate(
            IPv4Network("10.0.0.0/24"),
            IPv4Address("10.0.0.1"),
            taken,
            requested=IPv4Address("10.0.0.2"),
            owner=lambda a: f"container {taken[a]}",
        )


def test_a_range_within_the_subnet() -> None:
    subnet, gateway = IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.129")
    within = IPv4Network("10.0.0.128/30")
    taken: list[IPv4Address] = []
    for hint in (IPv4Address("10.0.0.5"), None, IPv4Address("10.0.0.131")):
        taken.append(ipam.allocate(subnet, gateway, taken, hint=hint, within=within))
    assert sorted(map(str, taken)) == ["10.0.0.128", "10.0.0.130", "10.0.0.131"]
    with pytest.raises(Conflict, match="no available IPv4 addresses") as full:
        ipam.allocate(subnet, gateway, taken, within=within)
    assert "all 3 are taken" in full.value.hint
    assert str(ipam.allocate(subnet, gateway, [], within=IPv4Network("10.0.0.0/25"))) == "10.0.0.1"
    asked = IPv4Address("10.0.0.9")
    assert ipam.allocate(subnet, gateway, taken, requested=asked, within=within) == asked
