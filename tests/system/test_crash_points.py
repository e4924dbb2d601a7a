"""The daemon and its helpers die at every named step of everything they do; afterwards nothing is lost, left or told twice.

The points are found in the code.  One scenario, a list of API requests, passes all of them: at each point it is broken off
by the kill, and taken up again, with the same requests, at the next daemon.  A new point that the scenario does not reach
fails its test.
"""

from __future__ import annotations

import ast
import http.client
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.busybox import GROUP, PASSWD
from hawse.cli.selftest.lab import REPOSITORY, Lab
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually

BELOW = ("spawner.", "shim.", "midwife.")
"""Points of other processes than the daemon; all others are its own."""
HOOKS = ("hook.", "gate.", "dispatch.parked")
"""Points that only a world with hooks reaches: test_hook_crashes.py."""
LIVE = ("live.",)
"""Points of a change to the networks of a running container: test_connect_crashes.py, test_dns.py."""
PULLS = ("pull.",)
"""Points that only a world with a registry reaches: test_pull.py."""

Step = tuple[str, str, object, tuple[int, ...]]
"""Method, path, body, the answers that are right.  Each may be sent again after a crash: what is done already is fine."""


def points() -> Iterator[str]:
    for package in ("supervisor", "handlers"):
        for source in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.point":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{source}:{node.lineno}: a point's name is written out"
                    yield str(name.value)


POINTS = sorted(set(points()))


def container(*command: str, network: str = "none", **host: Any) -> dict[str, Any]:
    return {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": network, **host}}


WEB = container("sleep", "1000", network="harbour", PortBindings={"80/tcp": [{"HostPort": "18181"}]})
WEB |= {"Volumes": {"/scratch": {}}}  # a volume of its own, which goes with it
SCENARIO: tuple[Step, ...] = (
    ("POST", "/networks/create", {"Name": "harbour", "Driver": "bridge"}, (201, 409)),
    ("POST", "/containers/create?name=web", WEB, (201, 409)),
    ("POST", "/containers/web/start", None, (204, 304)),
    ("POST", "/containers/web/update", {"Memory": 96 << 20, "MemorySwap": -1}, (200,)),
    ("POST", "/containers/web/pause", None, (204, 409)),
    ("POST", "/containers/web/unpause", None, (204, 409)),
    ("POST", "/containers/web/kill", None, (204, 409)),
    ("POST", "/containers/web/wait", None, (200,)),
    ("POST", "/containers/web/start", None, (204, 304)),  # its first cables are waited for
    ("POST", "/commit?container=web&repo=picture", None, (201,)),
    ("DELETE", "/containers/web?force=1&v=1", None, (204, 404)),
    ("POST", "/containers/create?name=stocked", container("true", Binds=["hold:/etc"]), (201, 409)),
    ("POST", "/containers/stocked/start", None, (204, 304)),
    ("FILLED", "hold", None, (200, 404)),
    ("DELETE", "/containers/stocked?force=1", None, (204, 404)),
    ("DELETE", "/volumes/hold", None, (204, 404)),
    ("POST", "/containers/create?name=wrong", container("/no/such/program"), (201, 409)),
    ("POST", "/containers/wrong/start", None, (404, 400)),
    ("DELETE", "/containers/wrong", None, (204, 404)),
    ("POST", "/containers/create?name=fleeting", container("true", AutoRemove=True), (201, 409)),
    ("POST", "/containers/fleeting/start", None, (204, 304, 404)),
    ("POST", "/containers/fleeting/wait?condition=removed", None, (200, 404)),
    (
        *("POST", "/containers/create?name=stubborn"),
        container("false", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1}),
        (201, 409),
    ),
    ("POST", "/containers/stubborn/start", None, (204, 304)),
    ("RETRIED", "stubborn", None, (200,)),
    ("DELETE", "/containers/stubborn?force=1", None, (204, 404)),
    ("DELETE", "/images/picture", None, (200, 404)),
    ("DELETE", "/networks/harbour", None, (204, 404)),
)


EACH = "the whole scenario and two starts of a daemon, for each point"


class Died(Exception):
    """The daemon, under a request."""


def ask(lab: Lab, step: Step) -> int:
    method, path, body, _ = step
    if method == "RETRIED":
        return eventually(lambda: retried(lab, path))
    if method == "FILLED":
        return filled(lab, path)
    return request(lab, method, path, body)[0]


def request(lab: Lab, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    try:
        return lab.daemon.request(method, path, body)
    except (OSError, http.client.HTTPException):
        raise Died from None


def retried(lab: Lab, name: str) -> int:
    """200 when its restart policy has been exhausted."""
    status, body = request(lab, "GET", f"/containers/{name}/json")
    if status != 200:
        return status
    shown = json.loads(body)
    return 200 if shown["RestartCount"] == 1 and not shown["State"]["Running"] else 0


def filled(lab: Lab, volume: str) -> int:
    """200 when the volume has what the image has in /etc, whole; 404 when it is gone."""
    if request(lab, "GET", f"/volumes/{volume}")[0] == 404:
        return 404
    place = lab.root / "volumes" / volume
    sizes = {name: (place / name).stat().st_size for name in ("passwd", "group", "not-a-program")}
    return 200 if sizes == {"passwd": len(PASSWD), "group": len(GROUP), "not-a-program": 15} else 500


def play(lab: Lab, steps: Sequence[Step], *, until: Path | None = None) -> int | None:
    """The steps one after the other; the index of the one under which the daemon died.

    With `until`, a file that is left by a helper that dies, all answers are right, and those after it are not asked for.
    """
    for index, step in enumerate(steps):
        if until is not None and until.exists():
            return None
        try:
            status = ask(lab, step)
        except Died:
            return index
        assert until is not None or status in step[3], f"{step[:2]} was answered with {status}"
    return None


def settle(lab: Lab) -> None:
    """Everything that the scenario may have made goes, whatever state it is in."""
    for name in ("web", "stocked", "wrong", "fleeting", "stubborn"):
        status, body = lab.daemon.request("DELETE", f"/containers/{name}?force=1&v=1")
        assert status in (204, 404), f"{name} cannot be removed: {status} {body!r}"
    for path in ("/images/picture", "/networks/harbour", "/volumes/hold"):
        status, body = lab.daemon.request("DELETE", path)
        assert status in (200, 204, 404), f"{path} cannot be removed: {status} {body!r}"


def agrees(lab: Lab) -> None:
    """Records and world, and the journal with what it promises; the lab's fixture looks for leaks."""
    eventually(lambda: lab.hawse("audit"))
    assert not anomalies(lab.root / "hawse.db")


OWN = [p for p in POINTS if not p.startswith(BELOW + HOOKS + LIVE + PULLS)]
OTHERS = [p for p in POINTS if p.startswith(BELOW)]


@pytest.mark.slow(EACH)
@pytest.mark.parametrize("point", OWN)
def test_the_daemon_dies_at(lab: Lab, point: str) -> None:
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    where = play(lab, SCENARIO)
    lab.daemon.wait_dead()
    lab.daemon.start()
    if where is not None:  # a handler may come to its point when all has been answered
        assert play(lab, SCENARIO[where:]) is None
    agrees(lab)


@pytest.mark.slow(EACH)
@pytest.mark.parametrize("point", OTHERS)
def test_a_helper_dies_at(lab: Lab, point: str) -> None:
    mark = Path(lab.share / f"mark-{point}")  # a shim of the test before may still come to its own point
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": f"{point}@{mark}"})
    play(lab, SCENARIO, until=mark)
    eventually(mark.exists)
    mark.unlink()
    if not point.startswith("spawner."):  # without that the daemon ends by itself
        settle(lab)
        agrees(lab)
        lab.daemon.kill9()
    lab.daemon.wait_dead()
    lab.daemon.start()
    settle(lab)
    assert play(lab, SCENARIO) is None
    agrees(lab)


def test_points_outside_of_the_scenario_are_named_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert not [p for p in POINTS if p.startswith(LIVE) and f'"{p}"' not in tests], "test_connect_crashes.py"


def test_every_part_has_points() -> None:
    assert {p.partition(".")[0] for p in POINTS} == {
        *("create", "start", "connect", "exit", "disconnect", "remove", "network-create", "network-remove", "image"),
        *("auto-remove", "restart", "spawner", "shim", "midwife", "hook", "gate", "dispatch", "live"),
        *("stop", "pause", "unpause", "update", "volume", "pull"),
    }
