"""systemd-networkd with a catch-all beside hawse: our bridges and cables are left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(900)

CATCH_ALL = "/etc/systemd/network/10-all.network"
STATE = "ip -br -4 addr show blue; bridge -o link show | grep -o 'h-.* master [a-z0-9]*'"
REPAIRS = "hawse events --no-follow | grep -c network.repaired"
SET_UP = "networkctl list --no-pager --no-legend | awk '$2 == \"blue\" || $2 ~ /^h-/ {print $NF}'"


@pytest.fixture
def taken(machine: Machine) -> Iterator[Machine]:
    """A container runs, then networkd is told to take every bridge, and what looks like Ethernet: a veth does."""
    machine.run("hawse network create blue; hawse run -d --name one --network blue busybox sleep 3600")
    before = machine.run(STATE).out
    machine.run(f"printf '[Match]\\nType=ether bridge\\n[Network]\\nDHCP=yes\\n' >{CATCH_ALL}")
    yield machine
    machine.run(f"rm {CATCH_ALL}; networkctl reload")
    assert before in machine.run(STATE).out


@pytest.mark.parametrize("told", ["networkctl reload", "systemctl restart systemd-networkd"], ids=["reload", "restart"])
def test_a_catch_all_does_not_take_our_devices(taken: Machine, told: str) -> None:
    """It took the cables off their bridge and the bridge's address away, and asked containers for an address by DHCP."""
    before, repaired = taken.run(STATE).out, taken.run(REPAIRS, check=False).out
    taken.run(told)
    taken.run(f"for _ in $(seq 60); do networkctl status enp0s3 | grep -q {CATCH_ALL} && break; sleep 1; done; sleep 3")
    taken.run("hawse run -d --name two --network blue busybox sleep 3600; udevadm settle; sleep 3")
    assert set(taken.run(SET_UP).out.split()) == {"unmanaged"}, taken.run("networkctl list --no-pager").out
    assert before in taken.run(STATE).out
    assert taken.run(REPAIRS, check=False).out == repaired
