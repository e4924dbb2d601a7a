"""The defects of the article's program (docs/design.md), each as a test that our supervisor has not got it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from hawse.cli.selftest.lab import HOST, REPOSITORY, Lab
from hawse.cli.selftest.snapshot import cgroups, everybody, links, ruleset
from hawse.cli.selftest.waiting import PATIENCE, eventually


def journal(lab: Lab, identifier: str) -> list[str]:
    """The types of the events about a container, oldest first."""
    status, said = lab.daemon.request("GET", "/hawse/v1/events?follow=0")
    assert status == 200
    found = (json.loads(line) for line in said.splitlines())
    return [event["type"] for event in found if event.get("subject") == f"container/{identifier}"]


def test_01_cleanup_does_not_depend_on_the_command_line(lab: Lab) -> None:
    """There: `run -d` cleaned up in a goroutine of a process that had ended; `run -it` cleaned up while it ran."""
    before = links(lab.world), cgroups(f"hawse_{lab.instance}")
    identifier = lab.hawse("run", "-d", "-p", "8080:80", "busybox", "sleep", "0.3").out.strip()
    eventually(lambda: lab.inspect(identifier)["State"]["Status"] == "exited")
    eventually(lambda: (links(lab.world), cgroups(f"hawse_{lab.instance}")) == before)
    lab.hawse("rm", identifier)

    script = "wget -q -O - http://127.0.0.1/index.html"
    with lab.pty(["hawse", "run", "-it", "--rm", "--name", "shell", "busybox", "sh"]) as terminal:
        terminal.expect("/ # ")
        terminal.type("httpd -h /www; echo rea''dy\n")
        terminal.expect("ready")
        terminal.type(f"until {script}; do sleep 0.1; done\n")
        terminal.expect("hello from busybox")
        assert lab.host.get(lab.address("shell", "bridge"), 80, "/index.html"), "its network is there while it runs"
        assert any(lab.inspect("shell")["Id"] in path for path in cgroups(f"hawse_{lab.instance}"))
        terminal.type("exit\n")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["busybox", "no-such-program"],
        ["-w", "/etc/passwd/under/a/file", "busybox", "true"],
        ["-u", "no-such-user", "busybox", "true"],
        ["-v", "/etc/hostname:/proc/x", "busybox", "true"],
        ["--cpuset-cpus", "4000", "busybox", "true"],
    ],
)
def test_02_a_failed_start_leaves_nothing(lab: Lab, flags: list[str]) -> None:
    """There: an early return after the fork left the process, its cgroup and its mount behind."""
    before = lab.settled()
    assert lab.hawse("run", "-p", "8080:80", "--name", "failed", *flags, check=False).code in (125, 126, 127)
    lab.hawse("rm", "failed", check=False)  # created but never started; docker keeps it too
    assert lab.leaks(before) == []
    lab.hawse("run", "--rm", "-p", "8080:80", "busybox", "true")


def test_03_disconnect_releases_the_address(lab: Lab) -> None:
    """There: every container took an address for ever.  Five hosts fit here, ten containers come."""
    lab.hawse("network", "create", "--subnet", "10.80.0.0/29", "small")
    for _ in range(10):
        lab.hawse("run", "--rm", "--network", "small", "busybox", "true")
    for _ in range(3):  # the one before may still be cleaned up
        lab.hawse("run", "--rm", "--network", "small", "--ip", "10.80.0.3", "busybox", "true")
    eventually(lambda: lab.hawse("ps", "-aq").out == "")
    lab.hawse("network", "rm", "small")


def test_04_disconnect_is_one_deletion_and_no_error(lab: Lab) -> None:
    """There: it deleted one end of the veth, then failed on the other, every time."""
    start = len(lab.daemon.log)
    identifier = lab.hawse("run", "-d", "busybox", "true").out.strip()
    lab.hawse("wait", identifier)
    eventually(lambda: "network.disconnected" in journal(lab, identifier))
    lab.hawse("rm", identifier)
    assert "error" not in lab.daemon.log[start:].lower()


def test_04_a_link_that_is_gone_already_is_no_error(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "busybox", "sleep", "100").out.strip()
    (veth,) = (line.split()[0] for line in links(lab.world) if identifier in line)
    lab.run(["ip", "link", "del", veth])
    lab.hawse("rm", "-f", identifier)
    assert journal(lab, identifier)[-1] == "container.removed"


def test_05_devices_do_not_clash_and_say_whose_they_are(lab: Lab) -> None:
    """There: five digits of a random number named the link; a clash came early, and nothing told whose it was."""
    identifiers = [lab.hawse("run", "-d", "busybox", "sleep", "100").out.strip() for _ in range(8)]
    found = [line for line in links(lab.world) if " veth " in line and "alias=hawse" in line]
    assert len({line.split()[0] for line in found}) == 8
    for identifier in identifiers:
        assert sum(identifier in line for line in found) == 1, "the owner stands in the alias"
    lab.hawse("rm", "-f", *identifiers)


def test_06_a_port_that_cannot_be_published_fails_the_start(lab: Lab) -> None:
    """There: an inner `err :=` hid the failure, and the container ran unreachable."""
    with lab.host.listen(8080) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = lab.popen(["sleep", "100"], pass_fds=[listener.fileno()])
    shown = lab.hawse("run", "--rm", "-p", "8080:80", "busybox", "true", check=False)
    process.kill()
    process.wait()
    assert shown.code == 125
    assert "8080" in shown.err


def test_06_what_is_recorded_is_in_the_kernel(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sleep", "100")
    assert any("8080" in line for line in ruleset(lab.world) if line.startswith("element"))
    lab.hawse("rm", "-f", "web")
    eventually(lambda: not any("8080" in line for line in ruleset(lab.world)))


def test_07_stop_waits_for_the_end(lab: Lab) -> None:
    """There: SIGTERM was sent and "stopped" written in the same breath, whatever the program did."""
    script = "trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "slow", "busybox", "sh", "-c", script)
    eventually(lambda: "up" in lab.hawse("logs", "slow").out)
    pid = lab.inspect("slow")["State"]["Pid"]
    stop = lab.popen(["hawse", "stop", "slow"], stdout=subprocess.DEVNULL)
    while (lab.inside / f"proc/{pid}").exists():
        assert lab.inspect("slow")["State"]["Status"] in ("running", "exited")
        time.sleep(0.02)
    assert stop.wait(PATIENCE) == 0
    assert lab.inspect("slow")["State"]["Status"] == "exited"
    lab.hawse("rm", "slow")


def test_08_the_record_goes_last(lab: Lab) -> None:
    """There: `rm` deleted the record first; a disconnect that failed then could never be repeated."""
    identifier = lab.hawse("run", "-d", "-p", "8080:80", "busybox", "sleep", "100").out.strip()
    lab.hawse("rm", "-f", identifier)
    order = journal(lab, identifier)
    assert order.index("network.disconnected") < order.index("container.removed")
    assert order[-1] == "container.removed"


def test_09_addresses_broadcast_gateway_and_a_full_subnet(lab: Lab) -> None:
    """There: no lock, a small read buffer, the broadcast address handed out, and no error when none was left."""
    lab.hawse("network", "create", "--subnet", "10.81.0.0/29", "six")
    identifiers = [lab.hawse("run", "-d", "--network", "six", "busybox", "sleep", "100").out.strip() for _ in range(5)]
    given = sorted(lab.address(i, "six") for i in identifiers)
    assert given == [f"10.81.0.{n}" for n in range(2, 7)], "not the network's, the gateway's or the broadcast address"
    full = lab.hawse("run", "--rm", "--network", "six", "busybox", "true", check=False)
    assert full.code == 125 and "no available IPv4 addresses" in full.err
    lab.hawse("rm", "-f", *identifiers)
    assert "10.81.0.1/29" in lab.run(["ip", "addr", "show", "dev", "six"]).out, "releasing does not move the gateway"
    lab.hawse("network", "rm", "six")


def test_10_each_container_has_its_own_cgroup(lab: Lab) -> None:
    """There: all shared one, and the first exit destroyed it."""
    stays = lab.hawse("run", "-d", "-m", "64m", "busybox", "sleep", "100").out.strip()
    lab.hawse("run", "--rm", "-m", "32m", "busybox", "true")
    mine = [path for path in cgroups(f"hawse_{lab.instance}") if path.endswith(stays)]
    assert mine
    pid = str(lab.inspect(stays)["State"]["Pid"])
    assert any(pid in lab.run(["cat", f"{path}/cgroup.procs"]).out.split() for path in mine)
    lab.hawse("rm", "-f", stays)


def test_11_imports_have_no_side_effects(bare_lab: Lab) -> None:
    """There: importing the network package made directories."""
    before = bare_lab.settled()
    names = sorted(
        ".".join(["hawse", *path.relative_to(REPOSITORY).with_suffix("").parts])
        for package in ("supervisor", "handlers", "cli")
        for path in (REPOSITORY / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )
    program = (
        f"import importlib, threading\nfor n in {names!r}: importlib.import_module(n)\nprint(threading.active_count())"
    )
    assert bare_lab.run([sys.executable, "-I", "-B", "-c", program]).out == "1\n", "no thread either"
    assert bare_lab.leaks(before) == []


def test_12_tests_do_not_touch_the_machine(lab: Lab) -> None:
    """There: they made devices and rules on the host and depended on each other's order."""
    lab.hawse("run", "-d", "--name", "box", "-p", "8080:80", "busybox", "sleep", "100")
    tag = f"hawse_{lab.instance}:"
    assert tag in lab.run(["ip", "-o", "link"]).out
    assert tag not in subprocess.run(["ip", "-o", "link"], capture_output=True, check=True, text=True).stdout
    assert os.readlink("/proc/self/ns/net") != os.readlink(lab.inside / "proc/1/ns/net")
    lab.hawse("rm", "-f", "box")


def test_13_arguments_stay_apart(lab: Lab) -> None:
    """There: argv was joined with blanks and split again."""
    given = ["a b", "", "c'd", '"', "$HOME", "*", "-x", "new\nline", "\u00e9\u4e16"]
    shown = lab.hawse("run", "--name", "words", "busybox", "printf", "[%s]", *given)
    assert shown.out == "".join(f"[{word}]" for word in given)
    assert lab.inspect("words")["Args"] == ["[%s]", *given]
    lab.hawse("rm", "words")


def test_a_network_with_living_containers_is_not_removed(lab: Lab) -> None:
    """The article's program deleted the bridge under them."""
    lab.hawse("network", "create", "used")
    lab.hawse("run", "-d", "--name", "box", "--network", "used", "busybox", "sleep", "100")
    assert lab.hawse("network", "rm", "used", check=False).code == 1
    assert any("sleep" in command for *_, command in everybody(lab.world))
    lab.hawse("rm", "-f", "box")
    lab.hawse("network", "rm", "used")


def test_a_published_port_answers_on_the_host_itself(lab: Lab) -> None:
    """There: only PREROUTING was written."""
    lab.hawse("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    for address in ("127.0.0.1", HOST):
        assert eventually(lambda a=address: lab.host.get(a, 8080, "/index.html"))  # type: ignore[misc]
    lab.hawse("rm", "-f", "web")
