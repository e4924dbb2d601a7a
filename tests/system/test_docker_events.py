"""`docker events`: what the verbs of docker's own client make it tell, with the attributes that its readers match on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")

Told = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def docker(lab: Lab) -> Callable[..., str]:
    env = {"DOCKER_HOST": lab.env["HAWSE_HOST"], "DOCKER_CONFIG": str(lab.share)}
    return lambda *args: lab.run(["docker", *args], env=env).out


@pytest.fixture
def told(lab: Lab, docker: Callable[..., str]) -> Told:
    """What has been told since the test began, up to and with the action asked for."""
    begun = lab.run(["date", "+%s.%N"]).out.strip()

    def until(last: str, *filters: str) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]]:
            asked = [word for text in filters for word in ("--filter", text)]
            now = lab.run(["date", "+%s.%N"]).out.strip()
            shown = docker("events", "--format", "json", "--since", begun, "--until", now, *asked)
            events = [json.loads(line) for line in shown.splitlines()]
            assert last in [event["Action"] for event in events], events
            return events

        return eventually(look, interval=0.1)

    return until


def _actions(events: list[dict[str, Any]]) -> list[str]:
    return [event["Action"] for event in events]


def _attributes(events: list[dict[str, Any]], action: str) -> dict[str, str]:
    (found,) = (event["Actor"]["Attributes"] for event in events if event["Action"] == action)
    assert isinstance(found, dict)
    return found


def test_the_life_of_a_container(docker: Callable[..., str], told: Told) -> None:
    docker(
        "create",
        "--name",
        "box",
        "-l",
        "tier=web",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' USR1; echo set; while :; do sleep 0.1; done",
    )
    docker("start", "box")
    docker("exec", "box", "true")
    docker("pause", "box")
    docker("unpause", "box")
    docker("rename", "box", "crate")
    docker("update", "--memory", "64m", "crate")
    docker("restart", "-t", "0", "crate")
    eventually(lambda: docker("logs", "crate").count("set") == 2)
    docker("kill", "-s", "USR1", "crate")
    docker("wait", "crate")
    docker("start", "crate")
    docker("stop", "-t", "0", "crate")
    docker("rm", "crate")
    events = told("destroy", "type=container", "label=tier=web")
    assert _actions(events) == [
        *(
            "create",
            "start",
            "exec_create: true",
            "exec_start: true",
            "exec_die",
            "pause",
            "unpause",
            "rename",
            "update",
        ),
        *("kill", "kill", "die", "stop", "start", "restart"),
        *("kill", "die"),
        *("start", "kill", "kill", "die", "stop", "destroy"),
    ]
    signals = [e["Actor"]["Attributes"]["signal"] for e in events if e["Action"] == "kill"]
    assert signals == ["15", "9", "10", "15", "9"]
    codes = [e["Actor"]["Attributes"]["exitCode"] for e in events if e["Action"] == "die"]
    assert codes == ["137", "3", "137"]
    assert _attributes(events, "rename")["oldName"] == "/box"
    execs = {e["Actor"]["Attributes"]["execID"] for e in events if e["Action"].startswith("exec_")}
    assert len(execs) == 1 and len(execs.pop()) == 64
    assert _attributes(events, "exec_die")["exitCode"] == "0"
    assert {e["Actor"]["Attributes"]["image"] for e in events} == {"busybox"}


def test_networks_and_volumes_of_a_container(docker: Callable[..., str], told: Told) -> None:
    network = docker("network", "create", "quay").strip()
    box = docker(
        "run", "-d", "--name", "box", "--net", "quay", "-v", "hold:/hold:ro", "busybox", "sleep", "1000"
    ).strip()
    docker("rm", "-f", "box")
    docker("network", "rm", "quay")
    docker("volume", "rm", "hold")
    events = told("destroy", "type=volume")
    assert _actions(events) == ["create", "mount", "unmount", "destroy"]
    assert {event["Actor"]["ID"] for event in events} == {"hold"}
    mounted = _attributes(events, "mount")
    assert (mounted["container"], mounted["destination"], mounted["read/write"]) == (box, "/hold", "false")
    events = told("destroy", "type=network")
    assert _actions(events) == ["create", "connect", "disconnect", "destroy"]
    assert {(e["Actor"]["ID"], e["Actor"]["Attributes"]["name"]) for e in events} == {(network, "quay")}
    assert _attributes(events, "disconnect")["container"] == box


def test_images(lab: Lab, docker: Callable[..., str], told: Told) -> None:
    docker("run", "--name", "author", "busybox", "touch", "/made")
    docker("commit", "author", "edition:1")
    docker("tag", "edition:1", "edition:2")
    docker("rm", "author")
    docker("rmi", "edition:1", "edition:2")
    assert "commit" in _actions(told("commit", "container=author"))
    assert _actions(told("delete", "type=image")) == ["tag", "untag", "untag", "delete"]


def test_a_restart_is_one_also_of_what_is_stopped(docker: Callable[..., str], told: Told) -> None:
    docker("create", "--name", "box", "busybox", "sleep", "1000")
    docker("restart", "box")
    docker("stop", "-t", "0", "box")
    docker("restart", "box")
    docker("kill", "box")
    docker("wait", "box")
    docker("start", "box")
    docker("rm", "-f", "box")
    actions = [a for a in _actions(told("destroy", "type=container")) if a != "kill"]
    assert actions == [
        *("create", "start", "restart", "die", "stop", "start", "restart", "die", "start", "die", "destroy"),
    ]


def test_health(docker: Callable[..., str], told: Told) -> None:
    check = ("--health-cmd", "test -e /well", "--health-interval", "100ms", "--health-retries", "1")
    docker("run", "-d", "--name", "patient", *check, "busybox", "sleep", "1000")
    told("health_status: unhealthy", "container=patient")
    docker("exec", "patient", "touch", "/well")
    told("health_status: healthy", "container=patient", "event=health_status")
    docker("rm", "-f", "patient")
