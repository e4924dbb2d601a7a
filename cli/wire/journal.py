"""Reading the journal over the API: every event once and in order, also while the daemon restarts."""

from __future__ import annotations

import json
import time

from hawse.cli.errors import Disconnected, Failure, NoDaemon
from hawse.cli.wire.client import Client, quote
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

PATIENCE = 60.0
"""Seconds that a follower waits for a daemon that went away."""
_PAUSE = 0.05


def follow(client: Client, query: Mapping[str, object]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The events that `query` (of GET /hawse/v1/events) asks for, as their line and as data.

    When the connection breaks, reading goes on after the last event or heartbeat that came.  Raises Failure when events
    were pruned before they could be read, and when no daemon comes back.
    """
    query = dict(query)
    for line, event in _again(client, f"{wire.NATIVE}/events", query):
        if event["type"] == "heartbeat":
            _go_on(query, event["cursor"])
            continue
        if event["type"] == "gone":
            raise Failure(f"{event['message']}\nReading can begin with --after {event['oldest']}")
        yield line, event
        _go_on(query, event["id"])


def deliveries(client: Client, name: str, follow: bool) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Return what a subscription delivers, with the lines `gone` that say what it lost."""
    path = f"{wire.NATIVE}/subscriptions/{quote(name)}/events"
    for line, event in _again(client, path, {"follow": follow}):
        if event["type"] != "heartbeat":
            yield line, event


def acknowledge(client: Client, name: str, ids: Iterable[str]) -> None:
    """Told again when the daemon went away: it does no harm."""
    deadline = time.monotonic() + PATIENCE
    path = f"{wire.NATIVE}/subscriptions/{quote(name)}/ack"
    while True:
        try:
            client.post(path, {"Ids": list(ids)})
            return
        except (Disconnected, NoDaemon):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _go_on(query: dict[str, object], cursor: str) -> None:
    query["after"] = cursor
    for place in ("tail", "since"):
        query.pop(place, None)


def _again(client: Client, path: str, query: dict[str, object]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    lost = 0.0  # when the daemon went away; 0 while it is there
    begun = False
    while True:
        try:
            with client.open("GET", path, query) as response:
                lost, begun = 0.0, True
                if begins := response.headers.get(wire.CURSOR.lower()):
                    _go_on(query, begins)
                for line in response.lines():
                    yield line, json.loads(line)
            return
        except (Disconnected, NoDaemon):
            now = time.monotonic()
            lost = lost or now
            if not begun or not query.get("follow") or now - lost > PATIENCE:
                raise
            time.sleep(_PAUSE)
