"""On a machine with AppArmor: which profile programs run under, and that the kernel denies nothing of hawse's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine

pytestmark = pytest.mark.timeout(900)

LABEL = "cat /proc/1/attr/current"
OWN = """\
printf 'profile hawse-test flags=(attach_disconnected) { file, network, capability, deny /etc/hostname r, }' >/tmp/own
apparmor_parser --replace /tmp/own
"""


@pytest.fixture
def confined(machine: Machine) -> Iterator[Machine]:
    """With hawse's default profile as installed; and the kernel's log from here on has nothing denied."""
    machine.run("dmesg --clear")
    yield machine
    denied = machine.run("dmesg | grep -i 'apparmor=.DENIED' || true").out
    assert not denied, denied


def test_who_runs_under_which_profile(confined: Machine) -> None:
    """docker's rule: the default profile, but for --privileged; a named one for both; execs as their container."""
    run = confined.run
    assert run(f"hawse run --rm busybox {LABEL}").out == "hawse-default (enforce)\n"
    assert run(f"hawse run --rm --userns host busybox {LABEL}").out == "hawse-default (enforce)\n"
    assert run(f"hawse run --rm --security-opt no-new-privileges=false busybox {LABEL}").out.startswith("hawse-default")
    assert run(f"hawse run --rm --user 1000 busybox {LABEL}").out == "hawse-default (enforce)\n"
    assert run(f"hawse run --rm --privileged busybox {LABEL}").out == "unconfined\n"
    assert run(f"hawse run --rm --security-opt apparmor=unconfined busybox {LABEL}").out == "unconfined\n"
    run(OWN)
    try:
        for more in ("", "--privileged"):
            opened = f"hawse run --rm {more} --security-opt apparmor=hawse-test busybox"
            assert run(f"{opened} {LABEL}").out == "hawse-test (enforce)\n"
            assert run(f"{opened} cat /etc/hostname 2>&1", check=False).code == 1, "its own rules hold"
    finally:
        run("apparmor_parser --remove /tmp/own")


def test_execs_and_health_checks_are_where_their_container_is(confined: Machine) -> None:
    run = confined.run
    run(
        "hawse run -d --name app --health-interval 1s --health-cmd 'grep -q hawse-default /proc/self/attr/current' "
        "busybox sleep 600"
    )
    run("hawse run -d --name free --privileged busybox sleep 600")
    assert run("hawse exec app cat /proc/self/attr/current").out == "hawse-default (enforce)\n"
    assert run("hawse exec --privileged app cat /proc/self/attr/current").out == "hawse-default (enforce)\n"
    assert run("hawse exec free cat /proc/self/attr/current").out == "unconfined\n"
    format = "{{.AppArmorProfile}}"
    assert run(f"hawse inspect -f '{format}' app free").out == "hawse-default\nunconfined\n"
    run("for _ in $(seq 120); do hawse ps --filter health=healthy -q | grep -q . && exit; sleep 0.5; done; exit 1")
    run("hawse stop -t 0 app; apparmor_parser --remove /etc/apparmor.d/hawse-default; hawse start app")
    assert run("hawse exec app cat /proc/self/attr/current").out == "unconfined\n", "as PID 1 was started"
    run("hawse system install")
    assert run("hawse exec app cat /proc/self/attr/current").out == "unconfined\n", "as PID 1 was started"


def test_a_run_with_everything_that_is_usual(confined: Machine) -> None:
    """Signals from everywhere, --init, terminals, ports, names, volumes, ps, cp: the fixture looks for denials."""
    run = confined.run
    run("hawse network create net")
    run("hawse run -d --name web --net net -p 8080:80 -v data:/www busybox httpd -f -h /www")
    run("hawse exec web sh -c 'echo page >/www/index.html'")
    assert run("curl --silent --retry 9 --retry-connrefused --max-time 60 127.0.0.1:8080").out == "page\n"
    assert run("hawse run --rm --net net busybox wget -q -O - http://web").out == "page\n"
    assert run("hawse run --rm -t busybox tty").out.startswith("/dev/pts/")
    assert (
        run("hawse run --rm --user 1000 --read-only --tmpfs /tmp busybox sh -c 'echo x >/tmp/x; cat /tmp/x'").out
        == "x\n"
    )
    traps = 'trap "echo hup" HUP; trap "exit 5" TERM; while :; do sleep 0.2; done'
    run(f"hawse run -d --name bare busybox sh -c '{traps}'")
    run(f"hawse run -d --name reaped --init busybox sh -c '{traps}'")
    for name in ("bare", "reaped"):
        run(
            f"hawse exec {name} ps; hawse top {name}; hawse cp {name}:/etc/passwd /tmp/passwd; hawse stats --no-stream {name}"
        )
        run(f"hawse kill -s HUP {name}; hawse pause {name}; hawse unpause {name}; hawse exec {name} kill -HUP 1")
        assert "hawse-default" in run(f"hawse exec {name} {LABEL}").out, "the reaper, too, where it is PID 1"
        run(f"for _ in $(seq 60); do hawse logs {name} | grep -q hup && break; sleep 0.5; done; hawse stop {name}")
        assert run(f"hawse inspect -f '{{{{.State.ExitCode}}}}' {name}").out == "5\n"
    run("systemctl restart hawse; hawse stop -t 0 web; hawse start web; hawse kill web")


def test_what_the_profile_denies(confined: Machine) -> None:
    """A mount, and writes outside of what is the container's own, also for a program with all capabilities."""
    powers = "hawse run --rm --userns host --cap-add ALL --security-opt seccomp=unconfined"
    script = "mkdir /m; mount -t tmpfs none /m && exit 1; umount /proc/sys; echo 1 >/proc/sys/kernel/printk && exit 1; exit 0"
    confined.run(f"{powers} busybox sh -c '{script}'")
    free = f"{powers} --security-opt apparmor=unconfined busybox sh -c 'mkdir /m; mount -t tmpfs none /m'"
    confined.run(free)


def test_a_profile_that_is_not_loaded_refuses_the_start(machine: Machine) -> None:
    refused = machine.run("hawse run --name app --security-opt apparmor=nobodys busybox true", check=False)
    assert refused.code == 125
    for words in ("unable to apply apparmor profile", 'no profile "nobodys" is loaded', "apparmor_parser -r"):
        assert words in refused.out
    assert machine.run("hawse inspect -f '{{.State.Status}}' app").out == "created\n"
    machine.run("hawse rm app && hawse run -d --name app busybox sleep 600")


def test_without_the_default_profile_info_says_so(machine: Machine) -> None:
    machine.run("apparmor_parser --remove /etc/apparmor.d/hawse-default")
    assert machine.run(f"hawse run --rm busybox {LABEL}").out == "unconfined\n"
    assert "hawse system install" in machine.run("hawse info | grep -i apparmor").out
    assert "name=apparmor" in machine.run("hawse info -f '{{json .SecurityOptions}}'").out
    assert "hawse-default" in machine.run("hawse info -f '{{json .Warnings}}'").out
    assert "loaded the AppArmor profile" in machine.run("hawse system install").out
    assert machine.run(f"hawse run --rm busybox {LABEL}").out == "hawse-default (enforce)\n"
