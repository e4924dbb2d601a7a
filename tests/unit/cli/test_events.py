"""`hawse events` against a daemon that breaks off, says heartbeat, and says gone."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.daemon import CliDaemon, Request

EPOCH = "e" * 32
PATH = "GET /hawse/v1/events"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    daemon = CliDaemon(tmp_path)
    yield daemon
    daemon.close()


def event(seq: int, kind: str = "container.started", **data: Any) -> dict[str, Any]:
    container = {"id": "c" * 64, "name": "web"}
    return {
        "id": f"{EPOCH}-{seq}",
        "seq": seq,
        "type": kind,
        "subject": f"container/{'c' * 64}",
        "time": "2026-01-31T12:00:00.123456789Z",
        "data": {"container": container, **data},
    }


def line(request: Request, view: dict[str, Any]) -> None:
    request.chunk(json.dumps(view).encode() + b"\n")


def test_a_follower_goes_on_after_what_it_had_when_the_daemon_breaks_off(daemon: CliDaemon) -> None:
    asked: list[str] = []

    def stream(request: Request) -> None:
        asked.append(request.query["after"])
        request.begin(X_Hawse_Cursor=f"{EPOCH}-4")
        if len(asked) == 1:  # before anything came
            request.sock.shutdown(socket.SHUT_RDWR)
        elif len(asked) == 2:
            line(request, event(5))
            line(request, {"type": "heartbeat", "cursor": f"{EPOCH}-7"})
            request.sock.shutdown(socket.SHUT_RDWR)
        else:
            line(request, event(8))
            request.sock.sendall(b"0\r\n\r\n")

    daemon.routes[PATH] = stream
    said = daemon.run("events")
    assert [json.loads(text)["seq"] for text in said.out.splitlines()] == [5, 8]
    assert asked == ["now", f"{EPOCH}-4", f"{EPOCH}-7"]


def test_gone_is_an_error_that_says_where_to_begin(daemon: CliDaemon) -> None:
    def stream(request: Request) -> None:
        request.begin()
        line(request, {"type": "gone", "oldest": f"{EPOCH}-9", "message": "events up to 9 were pruned"})
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes[PATH] = stream
    said = daemon.run("events", "--after", f"{EPOCH}-1")
    assert said.code == 1 and f"--after {EPOCH}-9" in said.err


def answer(daemon: CliDaemon, *views: dict[str, Any]) -> None:
    def stream(request: Request) -> None:
        request.begin()
        for view in views:
            line(request, view)
        request.sock.sendall(b"0\r\n\r\n")

    daemon.routes[PATH] = stream


def test_filters_and_places_travel_as_they_were_typed(daemon: CliDaemon) -> None:
    answer(daemon)
    assert daemon.run("events", "-f", "type=container.*", "-f", "exit!=0", "--since", "5", "-n", "3").code == 0
    query = daemon.seen[-1].query
    assert json.loads(query["filters"]) == ["type=container.*", "exit!=0"]
    assert (query["since"], query["tail"], query["follow"]) == ("5", "3", "1")
    assert "after" not in query


def test_the_table_says_what_matters(daemon: CliDaemon) -> None:
    died = event(
        6, "container.exited", exit={"code": 3, "signal": None, "oom": True, "reason": ""}, ran_ns=1_500_000_000
    )
    answer(daemon, event(5), died)
    said = daemon.run("events", "--format", "table", "--no-follow", env={"TZ": "UTC"})
    assert said.out.splitlines() == [
        "2026-01-31 12:00:00.123  container.started      web",
        "2026-01-31 12:00:00.123  container.exited       web                  exit=3 oom=yes ran=1.5s",
    ]


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 7", 7)])
def test_exec_gets_the_event_and_its_failure_is_the_exit_code(daemon: CliDaemon, command: str, code: int) -> None:
    answer(daemon, event(5))
    said = daemon.run("events", "--no-follow", "--exec", f'grep -o \'"seq": 5\'; echo "$HAWSE_NAME"; {command}')
    assert said.code == code
    assert said.out.splitlines()[1:] == ['"seq": 5', "web"]


def test_until_match_ends_with_the_first(daemon: CliDaemon) -> None:
    answer(daemon, event(5), event(6))
    assert len(daemon.run("events", "--until-match").out.splitlines()) == 1


@pytest.mark.parametrize("state", ["removing", "created", "removed"])
def test_the_exit_of_what_is_being_removed_is_told_whenever_one_looks(daemon: CliDaemon, state: str) -> None:
    """The exit was before the look; or between the two, and only the removal comes; or all of it is over."""
    ended = {"id": "c" * 64, "name": "web", "state": state, "exit": {"code": 137}}
    seen = {**ended, "exit": None} if state == "created" else ended
    daemon.routes["GET /hawse/v1/info"] = {"cursor": f"{EPOCH}-4"}
    daemon.routes["GET /hawse/v1/containers/web"] = {"container": seen, "endpoints": [], "removed": state == "removed"}
    answer(daemon, event(5, "container.removed", container=ended))
    said = daemon.run("wait", "--for", "exited", "web")
    assert (said.code, said.out, said.err) == (0, "137\n", "")
