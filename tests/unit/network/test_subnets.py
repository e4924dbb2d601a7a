"""Subnets: what is refused and why, and a free one that collides with nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import Conflict, UserError
from hawse.supervisor.network import subnets
from hawse.supervisor.network.subnets import LiveRoute

POOLS = ("172.30.0.0/15", "10.89.0.0/16")


@pytest.mark.parametrize(
    ("subnet", "gateway", "expected"),
    [
        ("10.10.10.0/24", "", ("10.10.10.0/24", "10.10.10.1")),
        ("10.10.10.1/24", "", ("10.10.10.0/24", "10.10.10.1")),
        ("10.10.10.9/24", "", ("10.10.10.0/24", "10.10.10.9")),
        ("10.10.10.0/24", "10.10.10.254", ("10.10.10.0/24", "10.10.10.254")),
        ("10.10.10.9/24", "10.10.10.9", ("10.10.10.0/24", "10.10.10.9")),
        ("10.10.0.0/255.255.0.0", "", ("10.10.0.0/16", "10.10.0.1")),
        ("10.10.10.0/30", "", ("10.10.10.0/30", "10.10.10.1")),
    ],
)
def test_parse(subnet: str, gateway: str, expected: tuple[str, str]) -> None:
    network, address = subnets.parse(subnet, gateway)
    assert (str(network), str(address)) == expected


@pytest.mark.parametrize(
    ("subnet", "gateway", "why"),
    [
        ("nonsense", "", "invalid subnet nonsense"),
        ("10.0.0.0/33", "", r"10\.0\.0\.0/33"),
        ("10.0.0.0", "", "prefix length is missing"),
        ("10.0.0.0/31", "", "too small"),
        ("10.0.0.1/32", "", "too small"),
        ("0.0.0.0/0", "", "too large"),
        ("10.0.0.255/24", "", "broadcast"),
        ("fd00::/64", "", "IPv6"),
        ("127.0.0.0/8", "", "loopback"),
        ("224.0.0.0/8", "", "multicast"),
        ("169.254.1.0/24", "", "link-local"),
        ("250.0.0.0/8", "", "reserved"),
        ("10.0.0.0/24", "10.0.1.1", r"gateway 10\.0\.1\.1"),
        ("10.0.0.0/24", "10.0.0.0", "network's own"),
        ("10.0.0.0/24", "10.0.0.255", "broadcast"),
        ("10.0.0.0/24", "gate", "not an IP address"),
        ("10.0.0.0/24", "fd00::1", "no matching subnet"),
        ("10.0.0.5/24", "10.0.0.6", r"10\.0\.0\.6 was given too"),
    ],
)
def test_what_is_refused(subnet: str, gateway: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        subnets.parse(subnet, gateway)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_parsed_or_refused(subnet: str, gateway: str) -> None:
    try:
        network, address = subnets.parse(subnet, gateway)
    except UserError:
        return
    assert address in network


def test_an_overlapping_network_is_named() -> None:
    with pytest.raises(Conflict, match=r"Pool overlaps .* 10\.60\.5\.0/24 overlaps network large \(10\.60\.0\.0/16\)"):
        subnets.check_free(IPv4Network("10.60.5.0/24"), (), {"large": IPv4Network("10.60.0.0/16")})


def test_an_overlapping_route_is_named() -> None:
    route = LiveRoute(IPv4Network("10.8.0.0/24"), "tun0")
    with pytest.raises(Conflict, match=r"the host's route 10\.8\.0\.0/24 on tun0"):
        subnets.check_free(IPv4Network("10.8.0.0/16"), [route], {})


def test_default_routes_in_disguise_overlap_nothing() -> None:
    halves = [LiveRoute(IPv4Network(n), "tun0") for n in ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1")]
    subnets.check_free(IPv4Network("10.8.0.0/16"), halves, {})


@given(
    st.lists(
        st.builds(
            lambda a, p: IPv4Network((a, p), strict=False), st.integers(0x0A59_0000, 0x0A59_FFFF), st.integers(16, 32)
        ),
        max_size=8,
    )
)
def test_the_chosen_one_overlaps_nothing(routes: list[IPv4Network]) -> None:
    live = [LiveRoute(r, "eth0") for r in routes]
    chosen = subnets.choose(POOLS, live, {"other": IPv4Network("172.30.0.0/24")})
    assert chosen.prefixlen == 24
    assert not any(chosen.overlaps(r) for r in (*routes, IPv4Network("172.30.0.0/24")))


def test_pools_can_be_exhausted() -> None:
    used = {f"n{n}": IPv4Network(f"10.0.{n}.0/24") for n in range(4)}
    assert subnets.choose(["10.0.0.0/21"], (), used) == IPv4Network("10.0.4.0/24")
    with pytest.raises(Conflict, match="all predefined address pools have been fully subnetted"):
        subnets.choose(["10.0.0.0/22"], (), used)
    with pytest.raises(UserError, match="address_pools"):
        subnets.choose(["10.0.0.1/22"], (), used)


def test_a_small_pool_is_taken_whole() -> None:
    assert subnets.choose(["10.0.0.0/28"], (), {}) == IPv4Network("10.0.0.0/28")
    assert subnets.check_gateway(IPv4Network("10.0.0.0/28"), "10.0.0.14") == IPv4Address("10.0.0.14")
