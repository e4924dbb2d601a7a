"""What scripts and docker's clients meet: where they branch on a state, a status or a phrase, it is docker's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

SLEEP = ("busybox", "sleep", "1000")


@pytest.fixture
def box(lab: Lab) -> Iterator[Lab]:
    """The test's container is named `box`."""
    yield lab
    lab.hawse("rm", "-f", "-v", "box", check=False)


def asked(lab: Lab, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer = lab.daemon.request(method, path, body)
    return status, json.loads(answer) if answer else None


def test_a_kill_is_answered_when_it_has_ended(box: Lab) -> None:
    """So that `kill` and then `rm`, or a look at its state, mean what they say."""
    for _ in range(10):
        box.hawse("run", "-d", "--name", "box", *SLEEP)
        assert asked(box, "POST", "/containers/box/kill") == (204, None)
        state = box.inspect("box")["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 137)
        assert asked(box, "DELETE", "/containers/box") == (204, None)


def test_a_kill_by_another_signal_waits_for_nothing(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    assert asked(box, "POST", "/containers/box/kill?signal=TERM") == (204, None)
    assert box.inspect("box")["State"]["Running"]


def test_what_waits_for_its_restart_counts_as_running(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "--restart", "always", "busybox", "false")

    def waits() -> bool:
        shown = box.inspect("box")
        return bool(shown["RestartCount"] >= 5 and shown["State"]["Status"] == "restarting")  # for seconds, by then

    eventually(waits)
    identity = box.inspect("box")["Id"]
    status, answer = asked(box, "DELETE", "/containers/box")
    assert (status, answer["message"]) == (
        409,
        'cannot remove container "/box": container is restarting: stop the container before removing or force remove',
    )
    waiting = f"Container {identity} is restarting, wait until the container is running"
    for method, path in (("POST", "exec"), ("POST", "pause"), ("GET", "top")):
        status, answer = asked(box, method, f"/containers/box/{path}", {"Cmd": ["true"]})
        assert (status, answer["message"]) == (409, waiting), path
    assert asked(box, "DELETE", "/containers/box?force=1") == (204, None)


def test_a_paused_one_has_to_be_unpaused_before_it_is_stopped_and_removed(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", *SLEEP)
    box.hawse("pause", "box")
    assert "unpause and then stop the container" in asked(box, "DELETE", "/containers/box")[1]["message"]


def test_health_is_still_told_after_the_end(box: Lab) -> None:
    box.hawse("run", "-d", "--name", "box", "--health-cmd", "echo looked", "--health-interval", "100ms", *SLEEP)
    eventually(lambda: box.inspect("box")["State"]["Health"]["Status"] == "healthy")
    box.hawse("stop", "-t", "0", "box")
    health = box.inspect("box")["State"]["Health"]
    assert health["Status"] == "unhealthy", "as docker says of what nobody checks any more"
    assert health["Log"][-1]["Output"] == "looked\n"
    assert box.hawse("ps", "-aq", "--filter", "health=unhealthy").out


@pytest.mark.parametrize(("mode", "told"), [("none", ""), ("host", "Published ports are discarded")])
def test_ports_of_what_has_no_network_of_its_own_are_not_published(box: Lab, mode: str, told: str) -> None:
    """Nor are they held: the program itself may want one of the host's."""
    shown = box.hawse("run", "-d", "--name", "box", "-p", "8080:80", "--network", mode, *SLEEP)
    assert (told in shown.err) and bool(told) == bool(shown.err)
    listener = "import socket; s = socket.socket(); s.bind(('0.0.0.0', 8080)); s.listen()"
    assert box.run(["python3", "-c", listener]).code == 0
    assert box.inspect("box")["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert box.inspect("box")["NetworkSettings"]["Ports"] == {}
