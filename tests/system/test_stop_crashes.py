"""A daemon that dies while it ends a container: what was recorded as asked for is carried through by the next one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.system.test_paused import GRACE

QUIET = ("--network", "none", "--restart", "unless-stopped", "busybox")
OBEYS = ("sh", "-c", "trap 'exit 7' TERM; touch /ready; while :; do sleep 0.02; done")
REFUSES = ("sh", "-c", "trap '' TERM; touch /ready; while :; do sleep 0.02; done")


def run(lab: Lab, *program: str) -> None:
    lab.hawse("run", "-d", "--name", "box", *QUIET, *program)
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)


def told(lab: Lab, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, lab.hawse("history", lab.inspect("box")["Id"]).out.splitlines())
    return [event["data"] for event in lines if event["type"] == kind]


def rearm(lab: Lab, point: str) -> None:
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})


def dies_under(lab: Lab, *verb: str) -> None:
    assert lab.hawse(*verb, check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()


@pytest.mark.parametrize(
    ("verb", "program", "code"),
    [
        (("stop",), OBEYS, 7),
        (("stop", "-t", "1"), REFUSES, 137),
        (("kill", "-s", "TERM"), OBEYS, 7),
        (("kill",), OBEYS, 137),
        (("rm", "-f"), OBEYS, 137),
    ],
    ids=["stop", "stop of what refuses", "kill TERM", "kill", "rm"],
)
def test_before_the_signal_is_sent(lab: Lab, verb: Sequence[str], program: Sequence[str], code: int) -> None:
    run(lab, *program)
    rearm(lab, "stop.recorded")
    dies_under(lab, *verb, "box")
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "exited")
    shown = lab.inspect("box")
    assert shown["State"]["ExitCode"] == code and shown["RestartCount"] == 0
    assert len(told(lab, "container.killed")) == (3 if "-t" in verb else 2)
    lab.hawse("rm", "box")


@pytest.mark.parametrize("point", ["stop.recorded", "exit.recorded", "start.launched", "start.gate-open"])
def test_a_restart_is_finished(lab: Lab, point: str) -> None:
    """Also of what would be removed at its end; `--rm` waits until it has started again."""
    lab.hawse("run", "-d", "--rm", "--name", "box", "--network", "none", "busybox", *OBEYS)
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    first = lab.inspect("box")
    rearm(lab, point)
    dies_under(lab, "restart", "box")
    eventually(lambda: lab.inspect("box")["State"]["Running"] and len(told(lab, "container.started")) == 2)
    assert lab.inspect("box")["Id"] == first["Id"]
    assert [event["restarted"] for event in told(lab, "container.started")] == [False, True]
    assert told(lab, "container.exited")[0]["exit"]["code"] == 7
    lab.daemon.kill9()
    lab.daemon.start()  # and it is not done once more
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    assert len(told(lab, "container.started")) == 2 and len(told(lab, "container.killed")) <= 2
    lab.hawse("rm", "-f", "box")


def test_in_the_grace_period(lab: Lab) -> None:
    """The next daemon gives it the whole of it once more, and then it is killed."""
    run(lab, *REFUSES)
    stopping = lab.popen(["hawse", "stop", "-t", GRACE, "box"], stderr=subprocess.DEVNULL)
    eventually(lambda: told(lab, "container.killed"))
    lab.daemon.kill9()
    assert stopping.wait(PATIENCE) != 0
    lab.daemon.start()
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "exited")
    assert [event["signal"] for event in told(lab, "container.killed")][-2:] == [15, 9]
    lab.hawse("rm", "box")


def test_a_failed_restart_is_not_tried_by_a_later_daemon(lab: Lab) -> None:
    """Its user was told that it failed."""
    lab.hawse("run", "-d", "--name", "box", "-p", "8099:80", "busybox", *OBEYS)
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    gate = lab.state / "hooks.d" / "10-no.toml"
    gate.write_text('on = "pre-start"\ncommand = "/bin/false"\n')
    eventually(lambda: "pre-start" in lab.hawse("hook", "ls").out)
    assert lab.hawse("restart", "box", check=False).code == 1
    gate.unlink()
    eventually(lambda: lab.hawse("hook", "ls", "--format", "json").out.strip() == "[]")
    lab.daemon.kill9()
    lab.daemon.start()
    lab.hawse("run", "--rm", "busybox", "true")
    assert lab.inspect("box")["State"]["Status"] == "exited"
    assert "carrying_through" not in lab.daemon.log.rpartition("daemon_ready")[0].rpartition("daemon_ready")[2]
    lab.hawse("rm", "box")


def refuse_starts(lab: Lab) -> Path:
    """A gate; `box` has ended and its policy waits, for ever: an attempt that is refused is not begun."""
    gate = lab.state / "hooks.d" / "10-no.toml"
    gate.write_text('on = "pre-start"\ncommand = "/bin/false"\n')
    eventually(lambda: "pre-start" in lab.hawse("hook", "ls").out)
    lab.hawse("exec", "box", "kill", "-TERM", "1", check=False)  # it may be killed along with it
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "restarting")
    return gate


@pytest.mark.parametrize("policy", ["unless-stopped", "always"])
def test_a_restart_of_what_waits_for_its_policy_is_finished(lab: Lab, policy: str) -> None:
    run(lab, *OBEYS)
    lab.hawse("update", "--restart", policy, "box")
    gate = refuse_starts(lab)
    rearm(lab, "stop.recorded")
    assert lab.hawse("restart", "box", check=False).code != 0
    lab.daemon.wait_dead()
    gate.unlink()
    lab.daemon.start()
    eventually(lambda: lab.inspect("box")["State"]["Running"] and len(told(lab, "container.started")) == 2)
    lab.daemon.kill9()
    lab.daemon.start()  # and it is not done once more
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    assert [event["restarted"] for event in told(lab, "container.started")] == [False, True]
    assert len(told(lab, "container.exited")) == 1
    lab.hawse("rm", "-f", "box")


@pytest.mark.parametrize("verb", [("stop",), ("kill",), ("kill", "-s", "TERM")], ids=" ".join)
def test_what_waits_for_its_policy_is_called_off(lab: Lab, verb: Sequence[str]) -> None:
    run(lab, *OBEYS)
    gate = refuse_starts(lab)
    rearm(lab, "stop.recorded")
    assert lab.hawse(*verb, "box", check=False).code != 0
    lab.daemon.wait_dead()
    gate.unlink()
    lab.daemon.start()
    shown = lab.inspect("box")
    assert (shown["State"]["Status"], shown["State"]["ExitCode"]) == ("exited", 7)
    lab.hawse(
        "run", "--rm", "busybox", "true"
    )  # its exit comes after: what the journal has for the policy was looked at
    assert len(told(lab, "container.started")) == 1
    lab.hawse("start", "box")
    lab.hawse("rm", "-f", "box")


def test_the_removal_of_what_waits_for_its_policy_is_finished(lab: Lab) -> None:
    run(lab, *OBEYS)
    gate = refuse_starts(lab)
    rearm(lab, "remove.requested")
    assert lab.hawse("rm", "-f", "box", check=False).code != 0
    lab.daemon.wait_dead()
    gate.unlink()
    lab.daemon.start()
    eventually(lambda: lab.hawse("ps", "-aq").out == "")
