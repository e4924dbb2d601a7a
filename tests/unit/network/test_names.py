"""Names of devices: fit, follow from the record, tell whose they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.network import names

IDS = st.text("0123456789abcdef", min_size=64, max_size=64)
NETWORKS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,49}", fullmatch=True)
INSTANCES = st.from_regex(r"[a-z0-9]{0,4}", fullmatch=True)


@given(IDS, NETWORKS, INSTANCES)
def test_a_veth_fits_and_is_recognised(container: str, network: str, instance: str) -> None:
    name = names.veth(container, network, instance)
    assert len(name) <= 15 and name == names.veth(container, network, instance)
    assert names.is_veth(name, instance)
    assert not names.is_veth(name, instance + "x")


def test_a_thousand_veths_do_not_clash() -> None:
    """The article's program: five digits of a random number clash at about 370."""
    made = {names.veth(f"{n:064x}", network, "abcd") for n in range(10_000) for network in ("one", "two")}
    assert len(made) == 20_000


@given(NETWORKS, INSTANCES, st.lists(NETWORKS))
def test_a_bridge_fits_and_is_nobody_elses(network: str, instance: str, taken: list[str]) -> None:
    name = names.bridge(network, instance, [*taken, "eth0"])
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,15}", name) and name not in ("lo", "all", "default")
    assert name not in (*taken, "eth0")


@pytest.mark.parametrize(
    ("network", "instance", "taken", "expected"),
    [
        ("testbr", "", (), "testbr"),
        ("bridge", "", (), "hawse0"),
        ("bridge", "t1", (), "ht10"),
        ("exactly15chars_", "", (), "exactly15chars_"),
    ],
)
def test_a_bridge_is_named_after_its_network(
    network: str, instance: str, taken: tuple[str, ...], expected: str
) -> None:
    assert names.bridge(network, instance, taken) == expected


@pytest.mark.parametrize("network", ["a-name-that-is-too-long", "lo", "all", "default", "eth0"])
def test_a_bridge_whose_network_cannot_name_a_device(network: str) -> None:
    name = names.bridge(network, "", {"eth0"})
    assert name.startswith("h-") and len(name) == 14


@given(IDS | st.just(""), NETWORKS)
def test_tags_are_read_back_and_fit_a_comment(container: str, network: str) -> None:
    tag = names.tag("hawse_abcd", network, container)
    assert names.owner(tag, "hawse_abcd") == (container, network)
    assert names.owner(tag, "hawse") is None
    assert len(tag) <= 128


@pytest.mark.parametrize("text", ["", "hawse", "hawse:x", "mine", "a:b:c:d"])
def test_foreign_tags(text: str) -> None:
    assert names.owner(text, "hawse") is None


@pytest.mark.parametrize("name", ["", "-ab", " a", "a ", "a/b", "a:b", 'a"b', "a" * 51, "ü2"])
def test_network_names_that_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        names.check_network(name)


@pytest.mark.parametrize("name", ["x", "_x", "my net", "a.b-c_d", "a" * 50])
def test_network_names_that_docker_takes(name: str) -> None:
    assert names.check_network(name) == name
    assert names.bridge(name, "", ()).isascii() and " " not in names.bridge(name, "", ())
