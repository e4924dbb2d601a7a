"""The daemon is killed around a hook: at least once, no run is forgotten, and no hook is ever there twice at a time."""

from __future__ import annotations

import http.client
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually
from tests.system.test_crash_points import HOOKS, POINTS

HOOK, GATE = "on-container.started.d/10-tell", "pre-start.d/10-gate"
CUT_OFF = ("hook.begun", "hook.running", "hook.ended")
"""Points between the row of a run and its end."""


@pytest.fixture
def told(lab: Lab) -> Iterator[Path]:
    """Where the hook writes what it was told; a hook and a gate are installed for the next daemon."""
    file = lab.share / "told"
    install(lab, HOOK, f'echo "$HAWSE_SEQ $HAWSE_ATTEMPT" >> {file}; [ ! -e {file}.fail ] || rm {file}.fail; exit $?')
    install(lab, GATE, "true")
    yield file
    for path in (lab.state / "hooks.d").iterdir():
        shutil.rmtree(path)
    for path in (file, Path(f"{file}.fail")):
        path.unlink(missing_ok=True)
    eventually(lambda: lab.daemon.request("GET", "/hawse/v1/hooks")[1].strip() == b"[]")


def install(lab: Lab, name: str, text: str) -> None:
    path = lab.state / "hooks.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def runs(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Oldest first."""
    status, body = lab.daemon.request("GET", f"/hawse/v1/hooks/runs?hook={name}")
    return list(reversed(json.loads(body))) if status == 200 else []  # 404: it never ran


def started(lab: Lab, after: str) -> set[int]:
    _, body = lab.daemon.request("GET", f"/hawse/v1/events?types=container.started&after={after}")
    return {json.loads(line)["seq"] for line in body.splitlines()}


def begin(lab: Lab, name: str) -> None:
    """Start a container; the daemon may die under either request."""
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    with suppress(OSError, http.client.HTTPException):
        lab.daemon.request("POST", f"/containers/create?name={name}", body)
        lab.daemon.request("POST", f"/containers/{name}/start")


@pytest.mark.parametrize("point", [p for p in POINTS if p.startswith(HOOKS)])
def test_the_daemon_dies_at(lab: Lab, told: Path, point: str) -> None:
    _, snapshot = lab.daemon.request("GET", "/hawse/v1/snapshot")
    before, known = json.loads(snapshot)["cursor"], {run["id"] for run in runs(lab, HOOK) + runs(lab, GATE)}
    if point == "dispatch.parked":  # a failure is what is written there
        install(lab, HOOK, f'echo "$HAWSE_SEQ $HAWSE_ATTEMPT" >> {told}; [ "$HAWSE_ATTEMPT" != 1 ]')
    lab.daemon.kill9()
    # The gate's point is its own, though its program passes those of a hook.
    lab.daemon.start(env={"HAWSE_FAULT": f"{point}:2" if point == "hook.running" else point})
    begin(lab, "one")
    lab.daemon.wait_dead()
    lab.daemon.start()
    begin(lab, "two")

    def all_done() -> bool:
        new = [run for run in runs(lab, HOOK) if run["id"] not in known]
        return {run["seq"] for run in new if run["outcome"] == "succeeded"} == started(lab, before)

    eventually(all_done)
    lines = [tuple(map(int, line.split())) for line in told.read_text().splitlines()]
    assert {seq for seq, _ in lines} == started(lab, before), "an event that no run was told of"
    attempts = defaultdict(list)
    for run in runs(lab, HOOK):
        if run["id"] not in known:
            attempts[run["seq"]].append((run["attempt"], run["outcome"]))
    for seq, of_event in attempts.items():
        assert [attempt for attempt, _ in of_event] == list(range(1, len(of_event) + 1)), f"a run of {seq} is forgotten"
        assert {attempt for told_of, attempt in lines if told_of == seq} <= {attempt for attempt, _ in of_event}
    outcomes = [outcome for of_event in attempts.values() for _, outcome in of_event]
    assert outcomes.count("interrupted") == (point in CUT_OFF), outcomes
    gates = [run["outcome"] for run in runs(lab, GATE) if run["id"] not in known]
    assert gates.count("interrupted") == point.startswith("gate."), gates
    assert "" not in outcomes + gates, "a run without an end"
    for name in ("one", "two"):
        assert lab.daemon.request("DELETE", f"/containers/{name}?force=1")[0] in (204, 404)
    eventually(lambda: lab.hawse("audit"))
    assert not anomalies(lab.root / "hawse.db")


def test_a_hook_that_outlives_the_daemon_is_ended_before_it_is_repeated(lab: Lab, told: Path) -> None:
    lock = lab.share / "lock"
    install(
        lab,
        HOOK,
        f"""trap '' TERM HUP INT
        exec 9>{lock}
        flock -n 9 || echo twice >> {told}
        echo "began $HAWSE_ATTEMPT" >> {told}
        [ "$HAWSE_ATTEMPT" != 1 ] || {{ (sleep 1000) & sleep 1000; echo ended >> {told}; }}""",
    )
    eventually(lambda: HOOK in lab.hawse("hook", "ls").out)
    lab.hawse("run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "500")
    eventually(lambda: told.exists() and told.read_text())
    lab.daemon.kill9()
    # it goes on without the daemon
    eventually(lambda: lab.run(["pgrep", "-fc", "sleep 1000"], check=False).out.strip() == "2")
    lab.daemon.start()
    eventually(lambda: [run["outcome"] for run in runs(lab, HOOK)][-2:] == ["interrupted", "succeeded"])
    assert told.read_text() == "began 1\nbegan 2\n"
    eventually(lambda: lab.run(["pgrep", "-fc", "sleep 1000"], check=False).out.strip() == "0")
    lab.hawse("rm", "-f", "one")
