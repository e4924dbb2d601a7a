"""/hawse/v1/subscriptions over the socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.unit.api.client import Api, head, next_line

URL = "/hawse/v1/subscriptions"


async def consumed(api: Api, name: str) -> list[dict[str, Any]]:
    status, _, body = await api.request("GET", f"{URL}/{name}/events?follow=0")
    assert status == 200
    return [json.loads(line) for line in body.splitlines()]


async def test_create_consume_acknowledge_replay_remove(api: Api) -> None:
    ref = await api.created()
    body = {"Name": "mine", "Filters": ["type=container.*", "container=" + ref[:12]], "Since": "0"}
    status, made = await api.json("POST", URL, body)
    assert (status, made["Lag"] > 0, made["Paused"]) == (201, True, False)
    assert (await api.json("POST", URL, body))[0] == 409
    (created,) = await consumed(api, "mine")
    assert (created["type"], created["attempt"]) == ("container.created", 1)
    (again,) = await consumed(api, "mine")
    assert (again["id"], again["attempt"]) == (created["id"], 2), "its consumer left without acknowledging"
    assert (await api.json("POST", f"{URL}/mine/ack", {"Ids": [created["id"]]}))[0] == 204
    (started,) = await consumed(api, "mine")
    assert started["type"] == "container.started"
    assert (await api.json("POST", f"{URL}/mine/ack", {"Ids": [started["id"]]}))[0] == 204
    assert await consumed(api, "mine") == []
    status, replayed = await api.json("POST", f"{URL}/mine/replay", {"After": created["id"]})
    assert (status, replayed["Cursor"]) == (200, created["id"])
    assert [e["type"] for e in await consumed(api, "mine")] == ["container.started"]
    assert [s["Name"] for s in (await api.json("GET", URL))[1]] == ["mine"]
    assert (await api.json("DELETE", f"{URL}/mine"))[0] == 204
    assert (await api.json("GET", f"{URL}/mine"))[0] == 404


async def test_a_following_consumer_gets_what_comes_and_the_end_when_it_is_removed(api: Api) -> None:
    await api.json("POST", URL, {"Name": "mine", "Filters": ["type=container.created"]})
    reader, writer = await api.send("GET", f"{URL}/mine/events")
    await head(reader)
    ref = await api.created(start=False)
    event = json.loads(await next_line(reader))
    assert event["data"]["container"]["id"] == ref
    await api.json("DELETE", f"{URL}/mine")
    assert await asyncio.wait_for(reader.readexactly(5), 60) == b"0\r\n\r\n"
    writer.close()


async def test_bad_requests_say_what_is_wrong(api: Api) -> None:
    for body in (
        {"Name": "../x"},
        {"Name": "x", "Filters": ["nonsense"]},
        {"Name": "x", "AckDeadline": "soon"},
        {"Name": "x", "AckDeadline": "1ms"},
        {"Name": "x", "After": "yesterday"},
        {"Name": "x", "After": "now", "Since": "1"},
        {"Name": "x", "Filters": "type=x"},
    ):
        status, answer = await api.json("POST", URL, body)
        assert status == 400 and answer["message"], body
    assert (await api.json("POST", f"{URL}/nobody/ack", {"Ids": []}))[0] == 404
    assert (await api.json("POST", URL, {"Name": "x", "After": "0" * 32 + "-5"}))[0] == 410


async def test_events_since_until_tail_and_filters(api: Api) -> None:
    refs = [await api.created(start=False) for _ in range(3)]

    async def ids(query: str) -> list[str]:
        _, _, body = await api.request("GET", f"/hawse/v1/events?{query}")
        return [json.loads(line)["data"]["container"]["id"] for line in body.splitlines()]

    created = "filters=%5B%22type=container.created%22%5D"
    assert await ids(created) == refs
    assert await ids(f"{created}&tail=2") == refs[1:]
    assert await ids(f"{created}&tail=99") == refs
    assert await ids(f"{created}&until=1") == []
    assert await ids(f"{created}&since=1h&follow=1&until=0s") == refs
    assert (await api.request("GET", "/hawse/v1/events?filters=x"))[0] == 400
    assert (await api.request("GET", "/hawse/v1/events?tail=-1"))[0] == 400
    assert (await api.request("GET", "/hawse/v1/events?since=5&until=4"))[0] == 400
