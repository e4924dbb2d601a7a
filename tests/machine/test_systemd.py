"""hawse beside the real service manager: what stops containers and what does not; watchdog, reload, kills of the unit."""

from __future__ import annotations

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(900)

WAIT = "for _ in $(seq 60); do {0} && exit 0; sleep 1; done; exit 1"
MAIN = "$(systemctl show -P MainPID hawse)"
LEAVES_CLEANLY = "trap 'sleep 2; echo clean >/data/said; exit 7' USR1; touch /data/ready; while :; do sleep 0.1; done"


def until(machine: Machine, condition: str) -> None:
    machine.run(WAIT.replace("{0}", condition))


def began(machine: Machine) -> str:
    return machine.run("hawse inspect -f '{{.State.StartedAt}} {{.State.Pid}}' app").out


def test_a_reboot_gives_each_its_signal_and_its_grace(machine: Machine) -> None:
    """They end side by side, while the daemon is there to record it; a policy brings back what the machine stopped."""
    for name in ("one", "two"):
        script = LEAVES_CLEANLY.replace("/data/", f"/data/{name}-")
        machine.run(f'hawse run -d --name {name} --stop-signal USR1 -v data:/data busybox sh -c "{script}"')
    machine.run(
        "hawse run -d --name stays --restart unless-stopped busybox sh -c 'trap \"exit 3\" TERM; sleep 600 & wait'"
    )
    until(machine, "test -e /var/lib/hawse/volumes/data/one-ready -a -e /var/lib/hawse/volumes/data/two-ready")
    machine.reboot()
    until(machine, "hawse inspect -f '{{.State.Status}}' stays | grep -qx running")
    states = machine.run("hawse ps -a --format '{{.Names}} {{.State}}' | sort").out
    assert states == "one exited\nstays running\ntwo exited\n"
    assert machine.run("hawse inspect -f '{{.State.ExitCode}}' one two").out == "7\n7\n"
    assert machine.run("cat /var/lib/hawse/volumes/data/*-said").out == "clean\nclean\n"
    machine.run('test -z "$(ls -d /core* 2>/dev/null)"')


@pytest.mark.parametrize("how", ["kill --signal KILL hawse", "restart hawse"])
def test_the_unit_s_end_reaches_no_shim(machine: Machine, how: str) -> None:
    """Every process in the unit's cgroup is killed at once; and at a restart nothing is left over to be named."""
    machine.run("hawse run -d --name app busybox sleep 600")
    before, main = began(machine), machine.run(f"echo {MAIN}").out
    cursor = machine.run("journalctl -u hawse -n 0 --show-cursor | sed -n 's/^-- cursor: //p'").out.strip()
    machine.run(f"systemctl {how}")
    until(machine, f"test {MAIN} != 0 -a {MAIN} != {main.strip()} && systemctl is-active -q hawse")
    assert began(machine) == before
    told = machine.run(f"journalctl -u hawse --after-cursor '{cursor}'").out
    assert "left-over process" not in told
    assert "remains running" not in told


def test_the_watchdog(machine: Machine) -> None:
    """A daemon that stands still is replaced; no core is left, the containers go on."""
    machine.run("mkdir -p /run/systemd/system/hawse.service.d")
    machine.run("printf '[Service]\\nWatchdogSec=8\\n' >/run/systemd/system/hawse.service.d/quick.conf")
    try:
        machine.run("systemctl daemon-reload && systemctl restart hawse && hawse run -d --name app busybox sleep 600")
        before, main = began(machine), machine.run(f"echo {MAIN}").out.strip()
        machine.run(f"kill -STOP {main}")
        until(machine, f"test {MAIN} != 0 -a {MAIN} != {main} && systemctl is-active -q hawse")
        assert began(machine) == before
        assert "watchdog" in machine.run("journalctl -u hawse -n 40").out.lower()
        machine.run('test -z "$(ls -d /core* 2>/dev/null)"')
    finally:
        machine.run("rm -r /run/systemd/system/hawse.service.d; systemctl daemon-reload; systemctl restart hawse")


def test_the_journal_has_fields(machine: Machine) -> None:
    """At a restart the daemon tells of each container that it takes over."""
    container = machine.run("hawse run -d --name app busybox sleep 600").out.strip()[:12]
    machine.run("systemctl restart hawse")
    until(
        machine,
        f"journalctl -q CONTAINER_ID={container} EVENT=container_adopted SYSLOG_IDENTIFIER=hawse PRIORITY=6 | grep .",
    )
    assert "container_adopted" in machine.run("journalctl -u hawse -n 30").out


def test_reload(machine: Machine) -> None:
    """The same daemon goes on; a configuration that is bad is named and changes nothing."""
    main = machine.run(f"echo {MAIN}").out
    machine.run(
        "mkdir -p /etc/hawse; test ! -e /etc/hawse/hawse.toml; echo 'audit_interval = 77' >/etc/hawse/hawse.toml"
    )
    try:
        machine.run("systemctl reload hawse")
        until(machine, "journalctl -u hawse -n 9 | grep -q 'audit_interval.*77'")
        machine.run("echo 'audit_interval = 0' >/etc/hawse/hawse.toml; systemctl reload hawse")
        until(machine, "journalctl -u hawse -n 9 | grep -q 'audit_interval = 0 is not valid'")
        machine.run("systemctl kill -s USR1 --kill-whom main hawse")
        until(machine, "journalctl -u hawse -n 200 | grep -q tasks_wait")
        assert machine.run(f"echo {MAIN}").out == main
    finally:
        machine.run("rm /etc/hawse/hawse.toml; systemctl reload hawse")


def test_limits_are_not_the_unit_s(machine: Machine) -> None:
    """A daemon started by hand in another shell gives the same."""
    show = "hawse run --rm busybox cat /proc/self/limits | grep -v 'pending signals'"
    by_unit = machine.run(show).out
    machine.run(
        "systemctl stop hawse.service hawse.socket; ulimit -Sn 500; ulimit -Sc 0; setsid hawse daemon >/tmp/by-hand.log 2>&1 &"
    )
    until(machine, "test -S /run/hawse/hawse.sock && hawse ps -q")
    try:
        assert machine.run(show).out == by_unit
    finally:
        machine.run("hawse system shutdown; systemctl start hawse.socket hawse.service")
