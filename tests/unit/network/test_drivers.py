"""Which drivers there are, where foreign ones come from, and what the built-in ones say of a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hawse.cli import complete
from hawse.supervisor.core.errors import Forbidden, NotFound, Unavailable, UserError
from hawse.supervisor.core.model import NetworkName
from hawse.supervisor.network.driver import Edges, Expected, Spec, Surroundings
from hawse.supervisor.network.drivers.registry import BUILTIN, GROUP, Registry

NOWHERE: Any = None
EDGES = Edges(links=NOWHERE, firewall=NOWHERE, mark="hawse")
HOST = Surroundings(instance="", pools=("172.30.0.0/16",), routes=(), networks=())


def spec(**changes: Any) -> Spec:
    return Spec(**{"id": "1" * 64, "name": NetworkName("front"), "created_at": 1, **changes})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that provides the drivers `theirs` and `broken`."""
    (tmp_path / "theirs_of_test.py").write_text("class Theirs:\n    def __init__(self, edges): self.edges = edges\n")
    metadata = tmp_path / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    points = "theirs = theirs_of_test:Theirs\nbroken = theirs_of_test:Nothing\n"
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs_of_test", raising=False)


@pytest.mark.parametrize("name", BUILTIN)
def test_for_a_built_in_one_nobody_looks_what_is_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    registry = Registry(EDGES)
    assert registry.is_known(name) and registry.find(name)


@pytest.mark.usefixtures("installed")
def test_one_of_another_package_is_made_once() -> None:
    registry = Registry(EDGES)
    assert not registry.is_known("theirs")
    found: Any = registry.find("theirs")
    assert found.edges is EDGES
    assert registry.is_known("theirs") and registry.find("theirs") is found


@pytest.mark.usefixtures("installed")
def test_one_that_nobody_provides_and_one_that_is_broken() -> None:
    registry = Registry(EDGES)
    with pytest.raises(NotFound, match='could not find a driver named "overlay"') as refused:
        registry.find("overlay")
    assert refused.value.hint == "there are bridge, broken, host, null, theirs"
    with pytest.raises(Unavailable, match=r'"broken" \(theirs_of_test:Nothing\) cannot be loaded: AttributeError'):
        registry.find("broken")


@pytest.mark.parametrize("name", ["host", "null"])
def test_of_host_and_null_there_is_one_network(name: str) -> None:
    driver = Registry(EDGES).find(name)
    with pytest.raises(Forbidden, match=f'only one instance of "{name}" network is allowed'):
        driver.validate(spec(), HOST)
    assert not driver.traits.connects and not driver.traits.routed


def test_completion_offers_the_built_in_ones_that_make_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs without the daemon's modules, and so has words of its own."""
    complete.main(["network", "create", "-d", ""])
    registry = Registry(EDGES)
    making = sorted(name for name in BUILTIN if registry.find(name).traits.connects)
    assert capsys.readouterr().out.split() == making, "cli/complete.py: _WORDS"


def test_a_bridge_is_made_of_one_device_and_what_the_rules_need() -> None:
    bridge = Registry(EDGES).find("bridge")
    network = bridge.validate(spec(), HOST)
    assert (network.driver, network.device, str(network.gateway)) == ("bridge", "front", "172.30.0.1")
    expected = bridge.expected(network)
    assert expected.master == "front" and isinstance(expected, Expected)
    (device,) = expected.devices
    assert (device.what, device.name, str(device.address)) == ("bridge", "front", "172.30.0.1/24")
    assert {e.place for e in expected.elements} == {"bridges", "same", "sources", "resolvers"}


def test_a_bad_mtu_is_refused_before_anything_is_recorded() -> None:
    with pytest.raises(UserError, match=r"invalid com\.docker\.network\.driver\.mtu: big"):
        Registry(EDGES).find("bridge").validate(spec(options={"com.docker.network.driver.mtu": "big"}), HOST)
