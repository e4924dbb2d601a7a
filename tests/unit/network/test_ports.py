"""Published ports: what is refused and by whom it is taken; a free one when any will do."""

from __future__ import annotations

import time
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hawse.supervisor.core.errors import Conflict, UserError
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, PortBinding, PortReservation, State
from hawse.supervisor.network import ports

WEB = Container(id=ContainerId("a" * 64), name="web", config=ContainerConfig(), state=State.CREATED, created_at=0)
OTHER = ContainerId("b" * 64)


def binding(host: int, container: int = 80, proto: str = "tcp", ip: str | None = None) -> PortBinding:
    return PortBinding(host_port=host, container_port=container, proto=proto, host_ip=IPv4Address(ip) if ip else None)


def reserved(*bindings: PortBinding, by: ContainerId = OTHER) -> ports.InUse:
    found = [PortReservation(binding=b, container_id=by, container_name="holder") for b in bindings]
    return lambda proto, port: [f for f in found if (f.binding.proto, f.binding.host_port) == (proto, port)]


NOBODY = reserved()


def test_decided_ports_stay_as_they_are() -> None:
    asked = (binding(8080), binding(53, 53, "udp", "127.0.0.1"))
    assert ports.resolve(asked, NOBODY, WEB) == asked


@pytest.mark.parametrize(
    ("asked", "held"), [(None, None), ("127.0.0.1", None), (None, "192.0.2.1"), ("192.0.2.1",) * 2]
)
def test_a_port_that_a_container_has(asked: str | None, held: str | None) -> None:
    with pytest.raises(Conflict) as caught:
        ports.resolve([binding(8080, ip=asked)], reserved(binding(8080, 9, ip=held)), WEB)
    address = asked or "0.0.0.0"
    assert f"on endpoint web ({'a' * 64}): Bind for {address}:8080 failed: port is already allocated" in str(
        caught.value
    )
    assert "by container holder (bbbbbbbbbbbb)" in str(caught.value)


def test_what_does_not_collide() -> None:
    held = reserved(binding(8080), binding(8081, ip="192.0.2.1"), binding(8082))
    asked = (binding(8080, proto="udp"), binding(8081, ip="192.0.2.2"), binding(8083))
    assert ports.resolve(asked, held, WEB) == asked
    assert ports.resolve([binding(8080)], reserved(binding(8080), by=WEB.id), WEB), "its own of the last run"


def test_a_port_that_a_process_has() -> None:
    with pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:8080 failed: address already in use \(by process nginx"):
        ports.resolve([binding(8080)], NOBODY, WEB, lambda b: "process nginx (pid 7)")


def test_the_same_port_twice() -> None:
    with pytest.raises(Conflict, match="twice"):
        ports.resolve([binding(8080, 80), binding(8080, 81, ip="127.0.0.1")], NOBODY, WEB)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (binding(80, 0), "invalid containerPort: 0"),
        (binding(80, 65_536), "invalid containerPort"),
        (binding(65_536), "invalid hostPort"),
        (binding(-1), "invalid hostPort"),
        (binding(80, proto="icmp"), "invalid proto: icmp"),
        (binding(80, ip="224.0.0.1"), "invalid IP address"),
        (binding(80, ip="255.255.255.255"), "invalid IP address"),
    ],
)
def test_what_can_never_be_published(wrong: PortBinding, why: str) -> None:
    with pytest.raises(UserError, match=why):
        ports.resolve([wrong], NOBODY, WEB)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 8080, 8081, 32_768]), st.integers(1, 99)), max_size=6, unique_by=lambda p: p[1]
    ),
    st.sets(st.integers(32_768, 32_800)),
    st.sets(st.integers(32_768, 32_800)),
)
def test_free_ports_are_free_and_different(
    asked: list[tuple[int, int]], containers: set[int], processes: set[int]
) -> None:
    held = reserved(*(binding(p) for p in containers))
    try:
        found = ports.resolve(
            [binding(*a) for a in asked], held, WEB, lambda b: "process x" if b.host_port in processes else ""
        )
    except Conflict:
        fixed = [h for h, _ in asked if h]
        assert len(fixed) != len(set(fixed)) or {*fixed} & (containers | processes)
        return
    assert [(f.container_port, f.proto) for f in found] == [(c, "tcp") for _, c in asked]
    chosen = [f.host_port for f in found]
    assert len(set(chosen)) == len(chosen)
    assert not set(chosen) & (containers | processes)
    for (host, _), port in zip(asked, chosen, strict=True):
        assert port == host if host else port in ports.FREE_RANGE


def test_no_free_port_is_said() -> None:
    with pytest.raises(Conflict, match="all ports are allocated"):
        ports.resolve([binding(0)], NOBODY, WEB, lambda b: "process x")


def test_a_container_likely_gets_the_same_port_again() -> None:
    (first,) = ports.resolve([binding(0)], NOBODY, WEB)
    (second,) = ports.resolve([binding(0)], NOBODY, WEB)
    assert first == second


def test_thousands_of_ports_are_checked_quickly() -> None:
    """Once quadratic: a published range of 10,000 kept the store's thread busy for seconds."""
    asked = tuple(binding(port) for port in range(10_000, 40_000))
    begun = time.process_time()
    assert ports.resolve(asked, NOBODY, WEB) == asked
    assert time.process_time() - begun < 2


def test_the_first_free_one_of_a_range_of_host_ports() -> None:
    asked = replace(binding(8080), host_port_last=8082)
    assert ports.resolve([asked], NOBODY, WEB) == (binding(8080),)
    assert ports.resolve([binding(8080), asked], NOBODY, WEB) == (binding(8080), binding(8081))
    assert ports.resolve([asked], reserved(binding(8080)), WEB, lambda b: "x" if b.host_port == 8081 else "") == (
        binding(8082),
    )
    with pytest.raises(Conflict, match="all ports are allocated"):
        ports.resolve([asked], NOBODY, WEB, lambda b: "process x")
