"""What somebody does in the first hour on a machine of his own: run, publish, restart the unit, reboot."""

from __future__ import annotations

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(600)


@pytest.mark.quick
def test_run(machine: Machine) -> None:
    """On Debian 13 nothing started: / is shared, and overlay does not take our descriptors before 6.15."""
    before = machine.run("cat /proc/1/mountinfo").out
    assert machine.run("hawse run --rm busybox echo hello").out == "hello\n"
    assert machine.run("hawse run --rm --userns host busybox sh -c 'exit 7'", check=False).code == 7
    assert machine.run("cat /proc/1/mountinfo").out == before


@pytest.mark.quick
def test_publish(machine: Machine) -> None:
    machine.run(
        "hawse run -d --name web -p 8080:80 busybox sh -c 'mkdir /www; echo page >/www/index.html; httpd -f -h /www'"
    )
    assert machine.run("curl --silent --retry 9 --retry-connrefused --max-time 60 127.0.0.1:8080").out == "page\n"
    address = machine.run("hawse inspect -f '{{.NetworkSettings.IPAddress}}' web").out.strip()
    machine.run("nft flush ruleset")
    assert machine.run(f"curl --silent --max-time 60 {address}").out == "page\n"
    assert machine.run("curl --silent --retry 9 --retry-connrefused --max-time 60 127.0.0.1:8080").out == "page\n"


@pytest.mark.quick
def test_a_container_has_nothing_of_the_units(machine: Machine) -> None:
    machine.run("hawse run -d --name app busybox sleep 600")
    pid = machine.run("hawse inspect -f '{{.State.Pid}}' app").out.strip()
    assert machine.run("cat /proc/$(systemctl show -P MainPID hawse)/oom_score_adj").out == "-500\n"
    assert machine.run(f"cat /proc/{pid}/oom_score_adj").out == "0\n"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("restart hawse", marks=pytest.mark.quick),
        "kill --signal KILL --kill-whom main hawse",
        "daemon-reload",
        "daemon-reexec",
    ],
)
def test_the_unit_restarts(machine: Machine, how: str) -> None:
    """The socket is systemd's and stays; the container does not notice."""
    machine.run("hawse run -d --name app busybox sleep 600")
    began = machine.run("hawse inspect -f '{{.State.StartedAt}} {{.State.Pid}}' app").out
    machine.run(f"systemctl {how}")
    assert machine.run("hawse ps --format '{{.Names}} {{.State}}'").out == "app running\n"
    assert machine.run("hawse inspect -f '{{.State.StartedAt}} {{.State.Pid}}' app").out == began
    machine.run("test -S /run/hawse/hawse.sock && systemctl is-active hawse.socket hawse.service")


def test_the_unit_stops_and_starts(machine: Machine) -> None:
    machine.run("hawse run -d --name app busybox sleep 600")
    machine.run("systemctl stop hawse.service && test -S /run/hawse/hawse.sock")
    assert machine.run("hawse ps --format '{{.Names}} {{.State}}'").out == "app running\n", "started by its socket"


@pytest.mark.quick
def test_reboot(machine: Machine) -> None:
    """What has a policy is back, with its address; what has none is told to have ended."""
    machine.run("hawse run -d --name stays --restart always -p 8080:80 busybox httpd -f")
    machine.run("hawse run -d --name goes busybox sleep 600")
    address = "hawse inspect -f '{{.NetworkSettings.IPAddress}}' stays"
    before = machine.run(address).out
    machine.reboot()
    machine.run(
        "for _ in $(seq 200); do hawse ps -q --filter status=running --filter name=stays | grep -q . && break; "
        "sleep 0.5; done"
    )
    assert machine.run("hawse ps -a --format '{{.Names}} {{.State}}' | sort").out == "goes exited\nstays running\n"
    assert machine.run(address).out == before
    machine.run("curl --silent --output /dev/null --retry 9 --retry-connrefused --max-time 60 127.0.0.1:8080")
