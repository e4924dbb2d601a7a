"""Restart policies with a real daemon: who comes back, how often, and across the daemon's own restarts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")  # ends when told


def state(lab: Lab, name: str) -> dict[str, Any]:
    shown = lab.inspect(name)
    return {**shown["State"], "RestartCount": shown["RestartCount"]}


def is_running_as_other(lab: Lab, name: str, pid: int) -> bool:
    now = state(lab, name)
    return bool(now["Status"] == "running" and now["Pid"] != pid)


def test_on_failure_gives_up_after_n(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 3")
    eventually(lambda: (s := state(lab, "box"))["Status"] == "exited" and s["RestartCount"] == 2)
    assert state(lab, "box")["ExitCode"] == 3
    assert lab.hawse("logs", "box").out == "try\n" * 3
    lab.hawse("rm", "box")


def test_on_failure_leaves_success_alone(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "--restart", "on-failure", "busybox", "true")
    lab.hawse("wait", "box")
    lab.hawse("run", "--name", "later", "busybox", "true")  # its exit comes after: the first one's has been looked at
    eventually(lambda: state(lab, "box")["Status"] == "exited")
    assert state(lab, "box")["RestartCount"] == 0
    lab.hawse("rm", "box", "later")


@pytest.mark.parametrize("victim", ["program", "shim"])
def test_always_survives_what_kills_it(lab: Lab, victim: str) -> None:
    """A shim that is killed (the kernel short of memory does that) takes its container along, and the policy applies."""
    lab.hawse("run", "-d", "--name", "web", "--restart", "always", "-p", "8080:80", "busybox", *SLEEP)
    pid = state(lab, "web")["Pid"]
    native = lab.daemon.request("GET", "/hawse/v1/containers/web")[1]
    number = pid if victim == "program" else _shim_pid(native)
    lab.run(["kill", "-9", str(number)])
    eventually(lambda: is_running_as_other(lab, "web", pid))
    assert state(lab, "web")["RestartCount"] == 1
    eventually(
        lambda: not (lab.inside / f"proc/{pid}").exists()
    )  # no process without a keeper; reaped by the lab's own
    lab.hawse("rm", "-f", "web")


def _shim_pid(native: bytes) -> int:
    return int(json.loads(native)["container"]["shim"]["pid"])


def test_stopped_while_it_waits(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "--restart", "always", "busybox", "false")
    eventually(lambda: state(lab, "box")["RestartCount"] >= 3 and state(lab, "box")["Status"] == "restarting")
    lab.hawse("stop", "box")
    assert state(lab, "box")["Status"] == "exited"
    count = state(lab, "box")["RestartCount"]
    lab.hawse("update", "--restart", "no", "box")
    lab.hawse("start", "box")
    eventually(lambda: state(lab, "box")["Status"] == "exited")
    assert (count >= 3, state(lab, "box")["RestartCount"]) == (True, 0), "a start by hand counts anew"
    lab.hawse("rm", "box")


def test_update_gives_a_policy_to_what_runs(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "busybox", *SLEEP)
    lab.hawse("update", "--restart", "unless-stopped", "box")
    assert lab.inspect("box")["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    pid = state(lab, "box")["Pid"]
    lab.run(["kill", "-9", str(pid)])
    eventually(lambda: is_running_as_other(lab, "box", pid))
    lab.hawse("rm", "-f", "box")


def test_a_restart_that_is_refused_is_tried_again(lab: Lab) -> None:
    """Its port is taken meanwhile: it waits its turn, and has it when the port is free."""
    lab.hawse("network", "create", "quay")
    lab.hawse("run", "-d", "--name", "box", "--restart", "always", "-p", "8080:80", "busybox", *SLEEP)
    lab.hawse("stop", "-t", "0", "box")
    lab.hawse("run", "-d", "--name", "other", "-p", "8080:80", "busybox", *SLEEP)
    lab.daemon.restart()  # what has `always` is started again by a new daemon
    eventually(lambda: state(lab, "box")["RestartCount"] >= 2)
    eventually(lambda: state(lab, "box")["Status"] == "restarting")  # not so in the middle of an attempt
    lab.hawse("rm", "-f", "other")
    eventually(lambda: state(lab, "box")["Status"] == "running")
    lab.hawse("rm", "-f", "box")
    lab.hawse("network", "rm", "quay")


def test_across_daemons(lab: Lab) -> None:
    """A user's stop outlives the daemon for unless-stopped, and not for always; what ends while none is there returns."""
    for name in ("always", "unless-stopped"):
        lab.hawse("run", "-d", "--name", name, "--restart", name, "busybox", *SLEEP)
        lab.hawse("run", "-d", "--name", f"{name}-killed", "--restart", name, "busybox", *SLEEP)
    lab.hawse("stop", "-t", "0", "always", "unless-stopped")
    pids = [state(lab, f"{name}-killed")["Pid"] for name in ("always", "unless-stopped")]
    lab.daemon.kill9()
    lab.run(["kill", "-9", *map(str, pids)])
    lab.daemon.start()
    for name in ("always", "always-killed", "unless-stopped-killed"):
        eventually(lambda name=name: state(lab, name)["Status"] == "running")  # type: ignore[misc]
    assert state(lab, "unless-stopped")["Status"] == "exited"
    lab.hawse("rm", "-f", "always", "always-killed", "unless-stopped", "unless-stopped-killed")


def test_a_shutdown_that_stops_all_is_no_user_s_wish(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "--restart", "unless-stopped", "busybox", *SLEEP)
    lab.hawse("run", "-d", "--name", "plain", "busybox", *SLEEP)
    lab.hawse("update", "--restart", "no", "plain")
    lab.hawse("run", "-d", "--name", "failing", "--restart", "on-failure", "busybox", *SLEEP)
    pids = [state(lab, name)["Pid"] for name in ("box", "plain")]
    said = lab.hawse("system", "shutdown", "--stop-all", "-t", "40")
    assert said.err.endswith("has ended\n")
    lab.daemon.wait_dead()
    assert not [pid for pid in pids if (lab.inside / f"proc/{pid}").exists()]
    lab.daemon.start()
    eventually(lambda: is_running_as_other(lab, "box", pids[0]))
    assert state(lab, "plain")["Status"] == "exited"
    assert state(lab, "failing")["Status"] == "exited", "its end was no failure of its own"
    lab.hawse("rm", "-f", "box", "plain", "failing")


def test_a_shutdown_that_is_cut_off_excuses_no_later_failure(lab: Lab) -> None:
    """It has been told to end, and lives on; the daemon is killed before its grace is over."""
    deaf = "trap 'touch /told' TERM; while [ ! -e /fail ]; do sleep 0.1; done; exit 3"
    lab.hawse(
        "run", "-d", "--name", "box", "--restart", "on-failure", "--stop-timeout", "600", "busybox", "sh", "-c", deaf
    )
    pid = state(lab, "box")["Pid"]
    lab.daemon.request("POST", "/hawse/v1/shutdown?stop_all=1")
    eventually(lambda: (lab.inside / f"proc/{pid}/root/told").exists())
    lab.daemon.strike()
    lab.daemon.wait_dead()
    lab.daemon.start()
    assert state(lab, "box")["Pid"] == pid
    lab.hawse("exec", "box", "touch", "/fail")
    eventually(lambda: lab.inspect("box")["RestartCount"] > 0)
    lab.hawse("rm", "-f", "box")
