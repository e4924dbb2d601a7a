"""The journal as its readers see it: gapless through kills, bounded for those who do not read, durable for subscribers."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually


def lines(lab: Lab, *args: str) -> list[dict[str, Any]]:
    """What `hawse events --no-follow` shows."""
    return [json.loads(line) for line in lab.hawse("events", "--no-follow", *args).out.splitlines()]


def head(lab: Lab) -> str:
    _, body = lab.daemon.request("GET", "/hawse/v1/info")
    return str(json.loads(body)["cursor"])


class Reader:
    """A `hawse` that runs beside the test; what it prints is collected."""

    def __init__(self, lab: Lab, *argv: str) -> None:
        self.process = lab.popen(["hawse", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines: list[str] = []
        self._threads = [threading.Thread(target=self._collect), threading.Thread(target=self._errors)]
        self.errors = b""
        for thread in self._threads:
            thread.start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines += (line.decode() for line in self.process.stdout)

    def _errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            self.errors = self.process.stderr.read()

    def end(self, timeout: float = PATIENCE) -> int:
        try:
            return self.process.wait(timeout)
        finally:
            self.stop()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(PATIENCE)


@contextmanager
def reading(lab: Lab, *argv: str) -> Iterator[Reader]:
    reader = Reader(lab, *argv)
    try:
        yield reader
    finally:
        reader.stop()


@pytest.mark.slow("ten starts of a daemon under load")
@pytest.mark.timeout(400)
def test_a_follower_sees_every_seq_once_through_ten_kills_under_load(lab: Lab) -> None:
    """One `hawse events` from a cursor, ten kill -9 of the daemon while containers come and go."""
    begin = head(lab)
    stop = threading.Event()

    def churn(number: int) -> None:
        name = f"churn{number}"
        while not stop.is_set():
            lab.hawse("run", "--rm", "--name", name, "busybox", "true", check=False)
            lab.hawse("rm", "-f", name, check=False)

    load = [threading.Thread(target=churn, args=(n,)) for n in range(2)]
    with reading(lab, "events", "--after", begin, "--format", "json") as reader:
        for thread in load:
            thread.start()
        try:
            for _ in range(10):
                before = len(reader.lines)
                eventually(partial(_grown, reader, before))
                lab.daemon.kill9()
                lab.daemon.start()
        finally:
            stop.set()
            for thread in load:
                thread.join(2 * PATIENCE)
        lab.hawse("network", "create", "last")
        eventually(lambda: any('"network.created"' in line for line in reader.lines))
        events = [json.loads(line) for line in reader.lines]
    first = int(begin.rpartition("-")[2])
    seqs = [event["seq"] for event in events]
    assert seqs == list(range(first + 1, first + 1 + len(seqs)))
    assert len({event["epoch"] for event in events}) == 1
    assert sum(event["type"] == "daemon.started" for event in events) == 10
    lab.hawse("network", "rm", "last")
    for number in range(2):
        lab.hawse("rm", "-f", f"churn{number}", check=False)


def _grown(reader: Reader, before: int) -> bool:
    return len(reader.lines) > before + 3


def test_a_reader_that_stops_reading_costs_the_others_nothing(lab: Lab) -> None:
    """It gets everything when it goes on; the daemon's memory does not grow for it."""
    begin = head(lab)
    stalled = socket.socket(socket.AF_UNIX)
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(str(lab.daemon.socket_path))
    stalled.sendall(f"GET /hawse/v1/events?follow=1&after={begin} HTTP/1.0\r\n\r\n".encode())
    with stalled, reading(lab, "events", "--after", begin) as quick:
        lab.hawse("create", "--name", "box", *("-l", "padding=" + "x" * 20_000), "busybox", "true")
        names = ["box", *(f"box{n}" for n in range(40))]
        for old, new in pairwise(names):
            lab.hawse("rename", old, new)
        lab.hawse("rm", names[-1])
        eventually(lambda: any("container.removed" in line for line in quick.lines))
        received = b""
        stalled.settimeout(PATIENCE)
        while b"container.removed" not in received or not received.endswith(b"\n"):
            piece = stalled.recv(1 << 16)
            assert piece, "the daemon hung up"
            received += piece
    told = [json.loads(line)["type"] for line in received.split(b"\r\n\r\n", 1)[1].splitlines() if b'"seq"' in line]
    assert told == ["container.created", *["container.renamed"] * 40, "container.removed"]


def test_a_cursor_of_another_epoch_is_gone_and_says_where_to_begin(lab: Lab) -> None:
    status, body = lab.daemon.request("GET", f"/hawse/v1/events?after={'0' * 32}-5")
    answer = json.loads(body)
    assert (status, answer["code"]) == (410, "gone")
    assert lab.daemon.request("GET", f"/hawse/v1/events?after={answer['oldest']}")[0] == 200
    shown = lab.hawse("events", "--no-follow", "--after", "0" * 32 + "-5", check=False)
    assert shown.code == 1 and "no epoch" in shown.err


def test_a_subscription_delivers_all_to_consumers_that_are_killed(lab: Lab) -> None:
    """At least once and in order per container, through a killed consumer and a killed daemon."""
    lab.hawse("subscription", "create", "mine", "-f", "type=container.*", "--ack-deadline", "500ms")
    out = lab.share / "seen"
    out.write_text("")
    take = ("events", "--subscribe", "mine", "--ack", "--exec", f"grep -o '\"seq\":[0-9]*' >> {out}")
    with reading(lab, *take):
        lab.hawse("run", "--rm", "--name", "first", "busybox", "true")
        eventually(lambda: out.read_text())
    lab.hawse("run", "--rm", "--name", "second", "busybox", "true")
    lab.daemon.kill9()
    lab.daemon.start()
    lab.hawse("events", "--subscribe", "mine", "--no-follow", "--exec", "exit 3", check=False)

    def life(name: str) -> list[int]:
        told = [e["seq"] for e in lines(lab, "-f", f"container={name}", "-f", "type=container.*")]
        return told if len(told) == 4 else []  # it is removed a while after its end

    lives = [eventually(partial(life, name)) for name in ("first", "second")]

    def seen() -> list[int]:
        return [int(n) for n in re.findall(r"\d+", out.read_text())]

    with reading(lab, *take):
        eventually(lambda: set(lives[0] + lives[1]) <= set(seen()))
    told = seen()
    for lived in lives:
        assert [n for i, n in enumerate(told) if n in lived and n not in told[:i]] == lived
    shown = json.loads(lab.hawse("subscription", "inspect", "mine").out)[0]
    assert shown["Lost"] == 0
    lab.hawse("subscription", "rm", "mine")
    out.unlink()


def test_a_subscription_may_begin_with_all_that_is_kept(lab: Lab) -> None:
    lab.hawse("subscription", "create", "all", "--replay-existing")
    first = lab.hawse("events", "--subscribe", "all", "--no-follow", "--format", "json").out.splitlines()[0]
    assert json.loads(first)["id"] == json.loads(lab.hawse("events", "--no-follow").out.splitlines()[0])["id"]
    lab.hawse("subscription", "rm", "all")
    assert lab.hawse("subscription", "create", "x", "--replay-existing", "--since", "1h", check=False).code == 125


def test_a_script_waits_for_a_point_of_a_life(lab: Lab) -> None:
    with reading(lab, "wait", "--for", "connected", "soon") as waiter:
        lab.hawse("run", "-d", "--name", "soon", "busybox", "sleep", "1000")
        assert waiter.end() == 0, waiter.errors
    assert lab.hawse("wait", "--for", "started", "soon").code == 0
    late = lab.hawse("wait", "--for", "removed", "--timeout", "200ms", "soon", check=False)
    assert (late.code, "not removed" in late.err) == (124, True)
    now = head(lab)
    with (
        reading(lab, "wait", "--for", "exited", "soon") as exited,
        reading(lab, "wait", "--for", "removed", "soon") as removed,
        reading(lab, "events", "--after", now, "-f", "container=soon", "-f", "exit!=0", "--until-match") as matched,
    ):
        lab.hawse("rm", "-f", "soon")
        assert (exited.end(), removed.end(), matched.end()) == (0, 0, 0)
    assert exited.lines == ["137\n"]
    (death,) = map(json.loads, matched.lines)
    assert death["data"]["exit"]["signal"] == signal.SIGKILL
    assert death["data"]["endpoints"][0]["address"] and death["data"]["ran_ns"] > 0
    assert lab.hawse("wait", "--for", "removed", "soon").code == 0
    assert lab.hawse("wait", "--for", "exited", "nobody", check=False).code == 1


@pytest.mark.parametrize("format", ["json", "docker"])
def test_a_match_in_what_there_is(lab: Lab, format: str) -> None:
    lab.hawse("network", "create", "there")
    query = ("events", "--no-follow", "--until-match", "--format", format)
    wanted = "event=create" if format == "docker" else "type=network.created"
    found = lab.hawse(*query, "-f", wanted, "-f", "network=there")
    assert found.code == 0 and len(found.out.splitlines()) == 1
    assert lab.hawse(*query, "-f", wanted, "-f", "network=nowhere", check=False).code == 1
    lab.hawse("network", "rm", "there")


def test_a_removed_container_stays_readable(lab: Lab) -> None:
    identifier = lab.hawse("run", "-d", "--name", "past", "busybox", "true").out.strip()
    lab.hawse("wait", identifier)
    lab.hawse("rm", "past")
    status, body = lab.daemon.request("GET", "/hawse/v1/containers/past")
    assert status == 200
    seen = json.loads(body)
    assert (seen["removed"], seen["container"]["id"], seen["container"]["exit"]["code"]) == (True, identifier, 0)


def test_a_clock_that_jumps_back_disturbs_no_cursor(bare_lab: Lab) -> None:
    """Order is by seq; a time before the jump still finds a place, and nothing is lost behind it."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("network", "create", "one")
    cursor = head(lab)
    lab.daemon.kill9()
    with sqlite3.connect(lab.root / "hawse.db") as db:
        db.execute("UPDATE events SET time = time + 3600 * 1000000000")  # as if the clock had been an hour ahead
    db.close()
    lab.daemon.start()
    lab.hawse("network", "create", "two")
    later = lines(lab, "--after", cursor)
    assert [e["seq"] for e in later] == list(range(later[0]["seq"], later[0]["seq"] + len(later)))
    assert later[-1]["data"]["network"]["name"] == "two"
    assert later[0]["seq"] == int(cursor.rpartition("-")[2]) + 1
    assert len(lines(lab)) == later[-1]["seq"]
    assert lines(lab, "--since", "1m")


def test_a_clock_that_jumps_back_keeps_nothing_from_its_end(bare_lab: Lab) -> None:
    """Started, and waiting to be started again, by a clock that was an hour ahead."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    looping = ("sh", "-c", "[ -e /once ] && exec sleep 1000; touch /once; exit 1")
    lab.hawse("run", "-d", "--name", "again", "--restart", "always", "busybox", "sleep", "1000")
    probe = ("--health-cmd", "test -e /ok", "--health-interval", "100ms")
    lab.hawse("run", "-d", "--name", "fit", "--network", "none", *probe, "busybox", "sleep", "1000")
    lab.hawse("create", "--name", "flaky", "--restart", "on-failure", "--network", "none", "busybox", *looping)
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": "restart.decided"})
    lab.hawse("start", "flaky", check=False)
    lab.daemon.wait_dead()
    hour = 3600 * 1_000_000_000
    with sqlite3.connect(lab.root / "hawse.db") as db:
        db.execute(f"UPDATE events SET time = time + {hour}")
        db.execute(
            f"UPDATE containers SET json = json_set(json, '$.started_at', json_extract(json, '$.started_at') + {hour})"
        )
    db.close()
    lab.daemon.start()
    eventually(lambda: lab.inspect("flaky")["State"]["Status"] == "running")
    lab.hawse("exec", "fit", "touch", "/ok")
    eventually(lambda: lab.inspect("fit")["State"]["Health"]["Status"] == "healthy")
    lab.hawse("kill", "web")
    eventually(lambda: [e["type"] for e in lines(lab, "-f", "container=web")][-1] == "network.disconnected")
    lab.run(["kill", "-9", str(lab.inspect("again")["State"]["Pid"])])
    eventually(
        lambda: lab.inspect("again")["RestartCount"] == 1 and lab.inspect("again")["State"]["Status"] == "running"
    )
    lab.hawse("rm", "-f", "web", "again", "flaky", "fit")


def test_a_full_disk_refuses_the_change_and_drops_no_event(bare_lab: Lab, tmp_path: Path) -> None:
    lab = bare_lab
    lab.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "none", _mounted(lab)])
    lab.daemon.start()
    lab.hawse("network", "create", "before")
    lab.run(["sh", "-c", f"cat /dev/zero > {lab.root}/filler; true"], check=False)
    refused: list[str] = []
    for number in range(4000):
        status, body = lab.daemon.request(
            "POST", "/volumes/create", {"Name": f"v{number}", "Labels": {"x": "y" * 9000}}
        )
        if status >= 400:
            refused.append(json.loads(body)["message"])
            break
    assert refused and "disk is full" in refused[0]
    lab.run(["rm", f"{lab.root}/filler"])
    eventually(lambda: lab.hawse("volume", "create", "after").code == 0)
    events = lines(lab)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    made = {e["data"]["volume"]["name"] for e in events if e["type"] == "volume.created"}
    assert made == set(lab.hawse("volume", "ls", "-q").out.split())


def _mounted(lab: Lab) -> Path:
    lab.root.mkdir(parents=True, exist_ok=True)
    return lab.root


@pytest.mark.parametrize("wrong", [("--filter", "nonsense=1"), ("--ack",), ("--tail", "3", "--format", "docker")])
def test_flags_that_cannot_mean_anything_are_refused(lab: Lab, wrong: tuple[str, ...]) -> None:
    shown = lab.hawse("events", "--no-follow", *wrong, check=False)
    assert shown.code != 0 and shown.err and not shown.out
