"""What docker's own client shows when something is wrong, and with which exit code: scripts match on both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from hawse.cli.selftest.world import Result

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="the docker command line is not installed")


class Docker:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.env = {"DOCKER_HOST": lab.env["HAWSE_HOST"], "DOCKER_CONFIG": str(lab.share)}

    def __call__(self, *args: str | Path, check: bool = False) -> Result:
        return self.lab.run(["docker", *args], check=check, env=self.env)


@pytest.fixture
def docker(lab: Lab) -> Docker:
    return Docker(lab)


@pytest.fixture
def box(docker: Docker) -> Iterator[str]:
    docker("run", "-d", "--name", "box", "busybox", "sleep", "1000", check=True)
    yield "box"
    docker("rm", "-f", "-v", "box", check=True)


ABSENT = "Error response from daemon: No such container: nosuch\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("start nosuch", 1, f"{ABSENT}Error: failed to start containers: nosuch\n"),
        ("stop nosuch", 1, ABSENT),
        ("restart nosuch", 1, ABSENT),
        ("kill nosuch", 1, ABSENT),
        ("pause nosuch", 1, ABSENT),
        ("unpause nosuch", 1, ABSENT),
        ("rm nosuch", 1, ABSENT),
        ("rm -f nosuch", 0, ABSENT),
        ("logs nosuch", 1, ABSENT),
        ("top nosuch", 1, ABSENT),
        ("port nosuch", 1, ABSENT),
        ("wait nosuch", 1, ABSENT),
        ("diff nosuch", 1, ABSENT),
        ("export nosuch", 1, ABSENT),
        ("attach nosuch", 1, ABSENT),
        ("commit nosuch", 1, ABSENT),
        ("exec nosuch true", 1, ABSENT),
        ("cp nosuch:/x /tmp", 1, ABSENT),
        ("update -m 64m nosuch", 1, ABSENT),
        ("stats --no-stream nosuch", 1, ABSENT),
        ("rename nosuch other", 1, f"{ABSENT}Error: failed to rename container named nosuch\n"),
        ("network inspect nosuch", 1, "network nosuch not found"),
        ("network rm nosuch", 1, "network nosuch not found"),
        ("network rm -f nosuch", 0, ""),
        ("network disconnect -f nosuch box", 1, "network nosuch not found"),
        ("volume inspect nosuch", 1, "get nosuch: no such volume"),
        ("volume rm nosuch", 1, "get nosuch: no such volume"),
        ("volume rm -f nosuch", 0, ""),
        ("rmi nosuch", 1, "No such image: nosuch:latest"),
        ("tag nosuch x", 1, "No such image: nosuch:latest"),
        ("run --pull never nosuch true", 125, "No such image: nosuch:latest"),
        ("run --stop-signal FOO busybox true", 125, "invalid signal: FOO"),
        (
            "run --name a/b busybox true",
            125,
            "Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        ("run --pid host busybox true", 125, "hawse does not support sharing the pid namespace"),
        ("service ls", 1, "This node is not a swarm manager."),
        ("save busybox", 1, "hawse does not read or write image archives yet"),
    ],
)
def test_what_is_not_there(docker: Docker, words: str, code: int, said: str) -> None:
    shown = docker(*words.split())
    assert shown.code == code and said in shown.err


def test_inspect_looks_for_everything(docker: Docker) -> None:
    shown = docker("inspect", "nosuch")
    assert shown.code == 1 and shown.out == "[]\n" and "no such object: nosuch" in shown.err.lower()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("start box", 0, ""),
        ("unpause box", 1, "is not paused"),
        ("rm box", 1, 'cannot remove container "/box": container is running: stop the container before removing'),
        ("run --name box busybox true", 125, 'The container name "/box" is already in use by container'),
        ("exec -w /nonexistent box pwd", 127, "no such file or directory"),
        ("exec -u nosuch box true", 126, "unable to find user nosuch: no matching entries in passwd file"),
        ("exec box /etc", 126, "is a directory"),
        ("cp box:/nosuch /tmp", 1, "Could not find the file /nosuch in container box"),
        ("kill -s NONE box", 1, "invalid signal: NONE"),
        ("network disconnect bridge nosuch", 1, "No such container: nosuch"),
    ],
)
def test_what_is_the_wrong_moment(docker: Docker, box: str, words: str, code: int, said: str) -> None:
    shown = docker(*words.split())
    assert shown.code == code and said in shown.out + shown.err


def test_several_at_once_and_one_of_them_wrong(docker: Docker, box: str) -> None:
    shown = docker("stop", "-t", "0", box, "nosuch")
    assert (shown.code, shown.out, shown.err) == (1, "box\n", ABSENT)
    assert json.loads(docker("inspect", box).out)[0]["State"]["Status"] == "exited"
    shown = docker("kill", box)
    assert shown.code == 1 and "is not running" in shown.err
    shown = docker("start", "nosuch", box)
    assert shown.code == 1 and shown.out == "box\n"
    docker("pause", box, check=True)
    assert "is already paused" in docker("pause", box).err
    assert "is paused, unpause the container before exec" in docker("exec", box, "true").err


def test_who_made_an_image_and_what_was_said(docker: Docker, box: str) -> None:
    change = ("-c", "ENV X=1", "-c", "LABEL l=2")
    docker("commit", "-a", "me <me@example.org>", "-m", "first", *change, box, "made:1", check=True)
    (image,) = json.loads(docker("image", "inspect", "made:1").out)
    assert (image["Author"], image["Comment"]) == ("me <me@example.org>", "first")
    assert image["Config"]["Env"] == ["X=1"] and image["Config"]["Labels"] == {"l": "2"}
    assert docker("history", "--format", "{{.Comment}}", "made:1").out.splitlines()[0] == "first"
    docker("rmi", "made:1", check=True)


def test_restart_policy_by_update(docker: Docker, box: str) -> None:
    docker("update", "--restart", "always", "--memory", "50m", "--cpu-shares", "10", box, check=True)
    pid = json.loads(docker("inspect", box).out)[0]["State"]["Pid"]
    docker.lab.run(["kill", "-9", str(pid)])
    eventually(lambda: json.loads(docker("inspect", box).out)[0]["State"]["Pid"] not in (0, pid))
