"""A daemon of this build takes over from one of the build before: its database, its copies, what runs, and who reads.

The build before is of the last commit whose records have five fields for what is one wish now (core/wishfields.py).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.lab import earlier
from tests.system.test_hook_crashes import HOOK, install, runs
from tests.system.test_paused import GRACE

BEFORE = "7510431"
HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")
OBEYS = ("sh", "-c", "trap 'exit 7' TERM; touch /ready; while :; do sleep 0.02; done")
REFUSES = ("sh", "-c", "trap '' TERM; touch /ready; while :; do sleep 0.02; done")
STOPS = quote('{"event":["stop"]}')
OLD_FIELDS = {"stopped_by_user", "ended_by", "end_signal", "end_grace", "drops_volumes"}


@contextmanager
def before(lab: Lab, **env: str) -> Iterator[None]:
    """The build before serves; then it is killed, or a crash point has ended it."""
    python = earlier.build(BEFORE)
    with lab.daemon.log_path.open("ab") as log:
        program = (str(python), "-m", "hawse.supervisor")
        process = lab.popen(program, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lab.daemon.answers)
        yield
    finally:
        process.kill()
        process.wait(PATIENCE)


def record(lab: Lab, name: str) -> dict[str, Any]:
    answer = json.loads(lab.daemon.request("GET", f"/hawse/v1/containers/{name}")[1])
    return dict(answer["container"])


def copies(lab: Lab) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text())["container"] for path in (lab.root / "records/v1/container").glob("*.json")]
    return {container["name"]: container for container in found}


def wait_ready(lab: Lab, name: str) -> None:
    eventually(lambda: lab.hawse("exec", name, "test", "-e", "/ready", check=False).code == 0)


def told(lab: Lab, name: str, kind: str) -> int:
    events = map(json.loads, lab.hawse("history", lab.inspect(name)["Id"]).out.splitlines())
    return [event["type"] for event in events].count(kind)


def read(lab: Lab, *flags: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in lab.hawse("events", "--no-follow", "--format", "json", *flags).out.splitlines()
    ]


def seqs(lab: Lab, *flags: str) -> list[int]:
    return [event["seq"] for event in read(lab, *flags)]


@pytest.fixture
def lab(bare_lab: Lab) -> Lab:
    """What the build before leaves: containers that run, that were stopped, and that a policy is to start."""
    with before(bare_lab):
        bare_lab.hawse("image", "import", busybox_tar(), "busybox")
        bare_lab.hawse("network", "create", "quay")
        for name, port, policy in (("one", 8081, "no"), ("two", 8082, "always")):
            flags = ("--network", "quay", "-p", f"{port}:80", "--restart", policy)
            bare_lab.hawse("run", "-d", "--name", name, *flags, "busybox", *HTTPD)
        for name, policy in (("stays", "unless-stopped"), ("comes", "always")):
            bare_lab.hawse("run", "-d", "--name", name, "--network", "none", "--restart", policy, "busybox", *OBEYS)
            wait_ready(bare_lab, name)
            bare_lab.hawse("stop", name)
        eventually(lambda: copies(bare_lab).get("comes", {}).get("ended_by") == "stop")
    return bare_lab


def test_what_ran_runs_on_and_what_was_stopped_stays(lab: Lab) -> None:
    lab.daemon.start()
    eventually(lambda: lab.inspect("comes")["State"]["Running"])  # `always` has its daemon's start
    assert lab.inspect("stays")["State"]["Status"] == "exited"
    for name, port in (("one", 8081), ("two", 8082)):
        assert told(lab, name, "container.started") == 1
        assert lab.client.get(HOST, port, "/index.html") == b"hello from busybox\n"
    stopped = record(lab, "stays")
    assert stopped["wish"]["verb"] == "stop" and stopped["stopped_by_user"] and stopped["ended_by"] == "stop"
    assert record(lab, "one")["wish"] is None
    stops = lab.daemon.request("GET", f"/events?since=1&until={int(time.time())}&filters={STOPS}")[1].splitlines()
    assert len(stops) == 2, "what was written before is read as it was meant"
    eventually(lambda: not any(OLD_FIELDS & container.keys() for container in copies(lab).values()))
    lab.hawse("restart", "-t", "1", "one")
    eventually(lambda: lab.hawse("audit"))


def test_what_the_build_before_was_asked_for_is_carried_through(lab: Lab) -> None:
    """It dies with a stop, a restart and a removal written down that it has not finished."""
    with before(lab, HAWSE_FAULT="remove.requested"):
        lab.hawse("create", "--name", "goes", "-v", "/own", "--network", "none", "busybox", "true")
        clients = []
        for name, verb in (("ends", "stop"), ("returns", "restart")):
            lab.hawse("run", "-d", "--name", name, "--network", "none", "busybox", *REFUSES)
            wait_ready(lab, name)
            clients.append(lab.popen(["hawse", verb, "-t", GRACE, name], stderr=subprocess.DEVNULL))
            eventually(partial(told, lab, name, "container.killed"))
        assert lab.hawse("rm", "-v", "goes", check=False).code != 0
        assert all(client.wait(PATIENCE) != 0 for client in clients)
    lab.daemon.start()
    eventually(lambda: lab.inspect("ends")["State"]["Status"] == "exited")
    eventually(lambda: told(lab, "returns", "container.started") == 2 and lab.inspect("returns")["State"]["Running"])
    assert lab.inspect("ends")["State"]["ExitCode"] == 137
    eventually(lambda: "goes" not in lab.hawse("ps", "-a", "--format", "{{.Names}}").out.split())
    eventually(lambda: lab.hawse("volume", "ls", "-q").out == "")


def test_a_lost_database_is_made_anew_from_copies_of_before(lab: Lab) -> None:
    for file in lab.root.glob("hawse.db*"):
        file.unlink()
    lab.daemon.start("--rebuild-state")
    assert lab.inspect("one")["State"]["Running"] and lab.inspect("two")["State"]["Running"]
    assert record(lab, "stays")["wish"] == {"verb": "stop", "signal": 15, "grace": 10, "volumes": False}
    assert lab.inspect("stays")["State"]["Status"] == "exited"


def test_readers_of_the_journal_go_on_where_they_were(bare_lab: Lab) -> None:
    """A hook that the build before could not run yet, a subscription of which it has delivered a part, a reader's cursor."""
    lab, told, ready = bare_lab, bare_lab.share / "told", bare_lab.share / "ready"
    install(lab, HOOK, f'[ -e {ready} ] || exit 75; echo "$HAWSE_SEQ" >> {told}')
    delivered: set[int] = set()

    def delivered_all() -> bool:
        delivered.update(seqs(lab, "--subscribe", "mine", "--ack"))
        return delivered == set(seqs(lab, "-f", "type=container.*"))

    with before(lab):
        lab.hawse("image", "import", busybox_tar(), "busybox")
        lab.hawse("subscription", "create", "mine", "-f", "type=container.*")
        lab.hawse("run", "-d", "--name", "first", "--network", "none", "busybox", *HTTPD)
        eventually(delivered_all)
        cursor = read(lab)[-1]["id"]
        lab.hawse("run", "-d", "--name", "second", "--network", "none", "busybox", *HTTPD)
        eventually(lambda: len(runs(lab, HOOK)) >= 2)
    ready.touch()
    lab.daemon.start()
    lab.hawse("run", "-d", "--name", "third", "--network", "none", "busybox", *HTTPD)
    begun = seqs(lab, "-f", "type=container.started")
    eventually(lambda: told.exists() and sorted(map(int, told.read_text().split())) == begun)
    eventually(delivered_all)
    assert json.loads(lab.hawse("subscription", "inspect", "mine").out)[0]["Lost"] == 0
    followed = seqs(lab, "--after", cursor)
    assert followed == list(range(followed[0], followed[0] + len(followed))) and len(begun) == 3
