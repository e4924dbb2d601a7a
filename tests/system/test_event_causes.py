"""`cause`: which event led to which."""

from __future__ import annotations

import json
from typing import Any

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


def story(lab: Lab, name: str, until: str, times: int = 1) -> list[tuple[str, str]]:
    """Type of each event of a container, and the type of its cause; once there are so many of the last type."""

    def read() -> list[dict[str, Any]]:
        shown = lab.hawse("events", "--no-follow", "--format", "json", "-f", f"container={name}").out
        found = [json.loads(line) for line in shown.splitlines()]
        return found if [e["type"] for e in found].count(until) == times else []

    events = eventually(read)
    types = {event["id"]: event["type"] for event in events}
    seqs = {event["id"]: event["seq"] for event in events}
    assert all(seqs[e["cause"]] < e["seq"] for e in events if e["cause"]), "an effect before its cause"
    return [(event["type"], types[event["cause"]] if event["cause"] else "") for event in events]


def test_of_a_container_that_removes_itself(lab: Lab) -> None:
    lab.hawse("run", "--rm", "--name", "fleeting", "busybox", "true")
    assert story(lab, "fleeting", "container.removed") == [
        ("container.created", ""),
        ("network.connected", ""),
        ("container.started", ""),
        ("container.exited", ""),
        ("network.disconnected", "container.exited"),
        ("container.removed", "container.exited"),
    ]


def test_of_a_restart(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "again", "--restart", "on-failure:1", "busybox", "false")
    told = story(lab, "again", "network.disconnected", 2)
    assert told[3] == ("container.exited", "")
    # two handlers, in any order
    assert set(told[4:6]) == {
        ("container.restarting", "container.exited"),
        ("network.disconnected", "container.exited"),
    }
    assert told[6:] == [
        ("network.connected", "container.restarting"),
        ("container.started", "container.restarting"),
        ("container.exited", ""),  # not of the restart
        ("network.disconnected", "container.exited"),
    ]
    lab.hawse("rm", "again")


def test_of_signals_and_execs(lab: Lab) -> None:
    lab.hawse(
        "run", "-d", "--name", "shot", "--network", "none", "busybox", "sh", "-c", "trap : HUP; sleep 1000 & wait; wait"
    )
    lab.hawse("exec", "shot", "true")
    lab.hawse("kill", "-s", "HUP", "shot")
    lab.hawse("kill", "shot")
    told = [e for e in story(lab, "shot", "container.exited") if e[0] != "container.created"]
    assert told == [
        ("container.started", ""),
        ("container.exec_started", ""),
        ("container.exec_ended", "container.exec_started"),
        ("container.killed", ""),
        ("container.killed", ""),
        ("container.exited", "container.killed"),
    ]
    lab.hawse("rm", "shot")
    lab.hawse(
        "run",
        "-d",
        "--name",
        "calm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 0' TERM; sleep 1000 & wait",
    )
    lab.hawse("stop", "calm")
    assert story(lab, "calm", "container.exited")[-1] == ("container.exited", "container.killed")
    lab.hawse("rm", "calm")


def test_can_be_asked_for(lab: Lab) -> None:
    lab.hawse("run", "--rm", "--name", "gone", "busybox", "true")
    story(lab, "gone", "container.removed")
    query = ("events", "--no-follow", "--format", "json")
    exited = json.loads(lab.hawse(*query, "-f", "container=gone", "-f", "type=container.exited").out)
    effects = lab.hawse(*query, "-f", f"cause={exited['id']}").out.splitlines()
    assert [json.loads(line)["type"] for line in effects] == ["network.disconnected", "container.removed"]
