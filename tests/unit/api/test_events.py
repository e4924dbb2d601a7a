"""Docker's events and our own over the API: from the past and on, by cursor, as server-sent events."""

from __future__ import annotations

import json
import time

import docker
import docker.errors
import pytest

from hawse.supervisor.api import wire
from tests.unit.api.client import Api, head, next_line


async def test_docker_events_from_the_past_and_on(api: Api) -> None:
    ref = await api.created(Labels={"a": "b"})
    filters = json.dumps({"container": [ref], "event": ["start", "die"]}, separators=(",", ":"))
    reader, writer = await api.send("GET", f"/events?since=1&filters={filters}")
    assert (await head(reader))[0] == 200
    assert json.loads(await next_line(reader))["Action"] == "start"
    await api.engine.end(ref, 3)
    died = json.loads(await next_line(reader))
    assert (died["status"], died["Actor"]["Attributes"]["exitCode"], died["Actor"]["Attributes"]["a"]) == (
        "die",
        "3",
        "b",
    )
    writer.close()


async def test_events_until_now_end_by_themselves(api: Api) -> None:
    await api.created()
    _, _, body = await api.request("GET", "/events?since=1&until=0s")
    assert [json.loads(line)["Action"] for line in body.splitlines()] == ["create", "start"]
    assert (await api.request("GET", "/events?since=2000000000&until=1000000000"))[0] == 400


async def test_docker_py_reads_events(api: Api) -> None:
    await api.created()

    def use(client: docker.DockerClient) -> list[str]:
        return [e["Action"] for e in client.events(since=1, until=int(time.time()) + 1, decode=True)]

    assert await api.docker(use) == ["create", "start"]


async def test_native_events_resume_from_a_cursor(api: Api) -> None:
    await api.created()
    _, _, body = await api.request("GET", "/hawse/v1/events")
    first, second = map(json.loads, body.splitlines())
    assert (first["type"], second["type"], second["seq"]) == (
        "container.created",
        "container.started",
        first["seq"] + 1,
    )
    _, _, body = await api.request("GET", f"/hawse/v1/events?after={first['id']}")
    assert [json.loads(line)["id"] for line in body.splitlines()] == [second["id"]]
    _, _, body = await api.request("GET", "/hawse/v1/events?types=*.created")
    assert [json.loads(line)["id"] for line in body.splitlines()] == [first["id"]]


async def test_a_cursor_of_another_journal_is_gone_with_the_oldest_one(api: Api) -> None:
    status, answer = await api.json("GET", f"/hawse/v1/events?after={'0' * 32}-5")
    assert (status, answer["code"]) == (410, "gone")
    assert (await api.request("GET", f"/hawse/v1/events?after={answer['oldest']}"))[0] == 200
    assert (await api.request("GET", "/hawse/v1/events?after=yesterday"))[0] == 400


async def test_heartbeats_carry_a_cursor_to_go_on_from(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT", 0.01)
    await api.created()
    reader, writer = await api.send("GET", "/hawse/v1/events?follow=1&types=network.*")
    await head(reader)
    beat = json.loads(await next_line(reader))
    assert beat == {"type": "heartbeat", "cursor": api.engine.store.journal.cursor}
    writer.close()


async def test_server_sent_events(api: Api) -> None:
    await api.created()
    accept = {"Accept": "text/event-stream"}
    _, headers, body = await api.request("GET", "/hawse/v1/events", headers=accept)
    assert headers["content-type"] == "text/event-stream"
    fields = [dict(line.split(": ", 1) for line in event.split("\n")) for event in body.decode().strip().split("\n\n")]
    assert [f["event"] for f in fields] == ["container.created", "container.started"]
    assert json.loads(fields[0]["data"])["id"] == fields[0]["id"]
    _, _, body = await api.request("GET", "/hawse/v1/events", headers={**accept, "Last-Event-ID": fields[0]["id"]})
    assert body.startswith(f"id: {fields[1]['id']}\n".encode())


async def test_a_snapshot_and_the_events_after_it_leave_no_gap(api: Api) -> None:
    ref = await api.created()
    _, snapshot = await api.json("GET", "/hawse/v1/snapshot")
    assert [c["id"] for c in snapshot["containers"]] == [ref]
    assert snapshot["containers"][0]["ended_by"] == "", "as events have them"
    await api.engine.end(ref, 0)
    _, _, body = await api.request("GET", f"/hawse/v1/events?after={snapshot['cursor']}")
    assert [json.loads(line)["type"] for line in body.splitlines()] == ["container.exited"]
