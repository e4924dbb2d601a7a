"""start, stop, kill, rm, wait, ps, inspect, events: one container's life seen from outside."""

from __future__ import annotations

import json
import re
import select
import subprocess
import threading
import time
from typing import IO

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

ORDER = [
    *("container.created", "network.connected", "container.started", "container.exited", "network.disconnected"),
    "container.removed",
]


def test_stop_asks_first(lab: Lab) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "polite", "busybox", "sh", "-c", script)
    eventually(lambda: "ready" in lab.hawse("logs", "polite").out)
    assert lab.hawse("stop", "polite").out.strip() == "polite"
    assert lab.inspect("polite")["State"]["ExitCode"] == 3
    assert lab.hawse("logs", "polite").out == "ready\nbye\n"
    lab.hawse("rm", "polite")


def test_stop_kills_after_the_grace_time(lab: Lab) -> None:
    # As pid 1 it ignores SIGTERM, and by itself its grace time is longer than this test may take.
    lab.hawse("run", "-d", "--name", "deaf", "--stop-timeout", "1000", "busybox", "sleep", "1000")
    began = time.monotonic()
    lab.hawse("stop", "-t", "1", "deaf")
    assert time.monotonic() - began > 0.9
    assert lab.inspect("deaf")["State"]["ExitCode"] == 137
    assert lab.hawse("stop", "deaf").code == 0, "stopping what is stopped is fine"
    lab.hawse("rm", "deaf")


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", "10"])
def test_kill_sends_any_signal(lab: Lab, name: str) -> None:
    script = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "listener", "busybox", "sh", "-c", script)
    eventually(lambda: "ready" in lab.hawse("logs", "listener").out)
    lab.hawse("kill", "-s", name, "listener")
    eventually(lambda: "usr1" in lab.hawse("logs", "listener").out)
    lab.hawse("rm", "-f", "listener")


def test_kill_of_a_stopped_one_is_an_error(lab: Lab) -> None:
    lab.hawse("run", "--name", "done", "busybox", "true")
    failed = lab.hawse("kill", "done", check=False)
    assert failed.code == 1
    assert "is not running" in failed.err
    lab.hawse("rm", "done")


def test_rm_of_a_running_one_needs_force(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "busy", "busybox", "sleep", "100")
    refused = lab.hawse("rm", "busy", check=False)
    assert refused.code == 1
    assert 'cannot remove container "/busy": container is running' in refused.err
    assert lab.hawse("rm", "-f", "busy").out == "busy\n"


def test_rm_goes_on_after_a_wrong_name(lab: Lab) -> None:
    lab.hawse("run", "--name", "real", "busybox", "true")
    shown = lab.hawse("rm", "unreal", "real", check=False)
    assert (shown.code, shown.out) == (1, "real\n")
    assert "No such container: unreal" in shown.err


def test_wait_prints_exit_codes_in_order(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "slow", "busybox", "sh", "-c", "sleep 0.5; exit 4")
    lab.hawse("run", "-d", "--name", "quick", "busybox", "sh", "-c", "exit 5")
    assert lab.hawse("wait", "slow", "quick").out.split() == ["4", "5"]
    lab.hawse("rm", "slow", "quick")


def test_a_name_an_id_and_a_prefix_mean_the_same(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "--name", "known", "busybox", "sleep", "100").out.strip()
    assert {lab.inspect(ref)["Id"] for ref in ("known", identifier, identifier[:12], identifier[:6])} == {identifier}
    lab.hawse("rm", "-f", identifier[:12])


def test_ps_lists_running_ones_and_with_a_all(lab: Lab) -> None:
    up = lab.hawse("run", "-d", "--name", "up", "busybox", "sleep", "100").out.strip()
    lab.hawse("run", "--name", "down", "busybox", "sh", "-c", "exit 3", check=False)
    assert lab.hawse("ps", "-q").out.split() == [up[:12]]
    assert len(lab.hawse("ps", "-aq").out.split()) == 2
    rows = {line.split()[-1]: line for line in lab.hawse("ps", "-a").out.splitlines()[1:]}
    assert re.search(r"Up (Less than a second|\d+ seconds?)", rows["up"])
    assert lab.address("up", "bridge") in rows["up"]
    assert re.search(r"Exited \(3\) .* ago", rows["down"])
    assert '"sleep 100"' in rows["up"]
    lab.hawse("rm", "-f", "up", "down")


def test_inspect_format(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "seen", "-e", "K=V", "busybox", "sleep", "100")
    assert lab.hawse("inspect", "--format", "{{.State.Status}} {{.Name}}", "seen").out == "running /seen\n"
    assert "K=V" in json.loads(lab.hawse("inspect", "-f", "{{json .Config.Env}}", "seen").out)
    pid = int(lab.hawse("inspect", "-f", "{{.State.Pid}}", "seen").out)
    assert (lab.inside / f"proc/{pid}/comm").read_text() == "sleep\n"
    lab.hawse("rm", "-f", "seen")


def test_inspect_shows_the_stages_of_the_start(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "timed", "-p", "8081:80", "busybox", "sleep", "100")
    stages = lab.inspect("timed")["Hawse"]["Stages"]
    assert {"namespaces", "mounts", "veth", "rules", "gate", "exec", "total"} <= stages.keys()
    assert all(isinstance(v, int) and v >= 0 for v in stages.values())
    assert stages["total"] > 0
    lab.hawse("rm", "-f", "timed")


def native_events(lab: Lab, subject: str) -> list[str]:
    """The types of the journal's events about one container."""
    status, shown = lab.daemon.request("GET", "/hawse/v1/events?follow=0")
    assert status == 200, shown
    return [e["type"] for e in map(json.loads, shown.splitlines()) if e.get("subject") == f"container/{subject}"]


def test_the_events_of_one_life_come_in_order(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "busybox", "true").out.strip()
    lab.hawse("wait", identifier)
    lab.hawse("rm", identifier)
    seen = [kind for kind in native_events(lab, identifier) if kind in ORDER]
    assert seen == ORDER


def test_the_events_verb_streams_what_happens(lab: Lab) -> None:
    process = lab.popen(["hawse", "events", "--format", "docker-json"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with process.stdout:
            _wait_listening(lab, process.stdout)
            lab.hawse("run", "--rm", "--name", "watched", "busybox", "sh", "-c", "exit 6", check=False)
            actions = []
            while "destroy" not in actions:
                event = json.loads(process.stdout.readline())
                if event["Type"] == "container":
                    actions.append(event["Action"])
                    if event["Action"] == "die":
                        assert event["Actor"]["Attributes"]["exitCode"] == "6"
                        assert event["Actor"]["Attributes"]["name"] == "watched"
    finally:
        process.kill()
        process.wait()
    in_order = [a for a in actions if a in ("create", "start", "die", "destroy")]
    assert in_order == ["create", "start", "die", "destroy"]


def _wait_listening(lab: Lab, told: IO[bytes]) -> None:
    """Until it is told of something that happens now: only then is it sure to be told of what comes."""

    def told_of_something() -> bool:
        lab.daemon.request("POST", "/volumes/create", {"Name": "passing"})
        lab.daemon.request("DELETE", "/volumes/passing")
        return bool(select.select([told], [], [], 0.1)[0])

    eventually(told_of_something)


def test_restart_pause_and_rename(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "first", "busybox", "sleep", "100")
    pid = lab.inspect("first")["State"]["Pid"]
    lab.hawse("restart", "-t", "0", "first")
    assert lab.inspect("first")["State"]["Pid"] != pid
    lab.hawse("pause", "first")
    assert lab.inspect("first")["State"]["Status"] == "paused"
    assert "(Paused)" in lab.hawse("ps").out
    lab.hawse("unpause", "first")
    lab.hawse("rename", "first", "second")
    assert lab.inspect("second")["State"]["Running"]
    lab.hawse("rm", "-f", "second")


def test_info_and_version(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "counted", "busybox", "sleep", "100")
    info = lab.hawse("info").out
    assert re.search(r"Running:\s*1\b", info)
    assert lab.run(["uname", "-r"]).out.strip() in info
    version = lab.hawse("version").out
    assert re.search(r"API version:\s*1\.\d+", version)
    lab.hawse("rm", "-f", "counted")


def test_a_forced_removal_wins_against_starts_or_says_why(lab: Lab) -> None:
    for _ in range(5):
        lab.hawse("create", "--name", "box", "busybox", "sleep", "1000")
        over = threading.Event()

        def start_again(over: threading.Event = over) -> None:
            while not over.is_set():
                lab.daemon.request("POST", "/containers/box/start")

        starters = [threading.Thread(target=start_again) for _ in range(3)]
        for starter in starters:
            starter.start()
        answers = set()
        try:
            while 204 not in answers:
                status, body = lab.daemon.request("DELETE", "/containers/box?force=1")
                assert status in (204, 409), body
                answers.add(status)
        finally:
            over.set()
            for starter in starters:
                starter.join()
        assert lab.hawse("ps", "-aq").out == ""
