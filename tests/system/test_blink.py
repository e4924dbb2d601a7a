"""The daemon is killed and started again, and nobody who uses the containers notices; what ended meanwhile is not lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.story import anomalies, head
from hawse.cli.selftest.waiting import PATIENCE, eventually

SERVERS = ENDERS = 20
PORTS = 21_000
PAGE = b"hello from busybox\n"


class Visitor:
    """A client on another machine: fetches a page through one published port after the other until it is told to leave."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self.fetched = 0
        self.failed: list[str] = []

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def fetches_all(self) -> None:
        """Return when each server has been asked once more."""
        wanted = self.fetched + 2 * SERVERS
        eventually(lambda: self.fetched >= wanted or self.failed)

    def _visit(self) -> None:
        while not self._over.wait(0.005):
            port = PORTS + self.fetched % SERVERS
            try:
                assert self._lab.client.get(HOST, port, "/index.html", timeout=PATIENCE) == PAGE
            except (OSError, AssertionError) as e:
                self.failed.append(f"port {port}: {e!r}")
            self.fetched += 1


def start(lab: Lab, name: str, body: dict[str, Any]) -> None:
    for path, given in ((f"create?name={name}", body), (f"{name}/start", None)):
        status, answer = lab.daemon.request("POST", f"/containers/{path}", given)
        assert status in (201, 204), answer


def serve(lab: Lab, index: int) -> None:
    ports = {"80/tcp": [{"HostPort": str(PORTS + index)}]}
    command = ["httpd", "-f", "-p", "80", "-h", "/www"]
    start(lab, f"web{index}", {"Image": "busybox", "Cmd": command, "HostConfig": {"PortBindings": ports}})
    eventually(lambda: lab.client.get(HOST, PORTS + index, "/index.html"))


def await_word(lab: Lab, index: int) -> None:
    """One that ends with a code of its own when it is told to."""
    command = ["sh", "-c", f"trap 'exit {index + 1}' TERM; echo ready; while :; do sleep 1000 & wait; done"]
    start(lab, f"end{index}", {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}})
    eventually(lambda: "ready" in lab.hawse("logs", f"end{index}").out)


def shown(lab: Lab, name: str) -> dict[str, Any]:
    status, answer = lab.daemon.request("GET", f"/containers/{name}/json")
    assert status == 200, answer
    return dict(json.loads(answer)["State"])


def kill(lab: Lab, *, with_spawner: bool) -> None:
    """SIGKILL to the daemon, after its spawner where wanted; returns when it is gone."""
    daemon = lab.daemon.pid
    if with_spawner:
        (spawner,) = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
        os.kill(int(spawner), signal.SIGKILL)
    lab.daemon.strike()
    lab.daemon.wait_dead()


@pytest.mark.timeout(300)
def test_restart_without_a_blink(lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: serve(lab, i), range(SERVERS)))
        list(pool.map(lambda i: await_word(lab, i), range(ENDERS)))
    pids = {name: shown(lab, name)["Pid"] for kind in ("web", "end") for name in (f"{kind}{i}" for i in range(20))}
    database = lab.root / "hawse.db"
    before = head(database)
    with Visitor(lab) as visitor:
        kill(lab, with_spawner=False)
        visitor.fetches_all()
        ending = [pids[f"end{i}"] for i in range(ENDERS)]
        lab.run(["kill", "-TERM", *map(str, ending)])
        eventually(lambda: not [pid for pid in ending if (lab.inside / f"proc/{pid}").exists()])
        lab.daemon.start()
        visitor.fetches_all()
        kill(lab, with_spawner=True)
        visitor.fetches_all()
        lab.daemon.start()
        visitor.fetches_all()
    assert visitor.failed == []
    # A shim that was slow to write an exit down tells the next daemon as soon as it has.
    eventually(lambda: not any(shown(lab, f"end{i}")["Running"] for i in range(ENDERS)))
    assert {i: shown(lab, f"end{i}")["ExitCode"] for i in range(ENDERS)} == {i: i + 1 for i in range(ENDERS)}
    assert {f"web{i}": shown(lab, f"web{i}")["Pid"] for i in range(SERVERS)} == {
        f"web{i}": pids[f"web{i}"] for i in range(SERVERS)
    }
    assert told_exits(database, before) == Counter((f"end{i}", i + 1) for i in range(ENDERS)), "each is told of once"
    assert not anomalies(database)
    eventually(lambda: lab.hawse("audit"))
    lab.hawse("rm", "-f", *pids)


def told_exits(database: Path, after: int) -> Counter[tuple[str, int]]:
    """(name, exit code) of each exit in the journal."""
    query = "SELECT json FROM events WHERE seq > ? AND type = 'container.exited'"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        containers = [json.loads(body)["container"] for (body,) in connection.execute(query, (after,))]
    return Counter((container["name"], container["exit"]["code"]) for container in containers)
