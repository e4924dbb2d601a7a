"""GET /hawse/v1/events by many readers at once: at the head, behind it, and between the two."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Stream
from hawse.supervisor.core import events
from hawse.supervisor.core.model import Volume
from hawse.supervisor.store import journal as journal_module
from hawse.supervisor.store.crowd import Crowd
from tests.unit.api.client import Api, head, next_line

PADDING = "x" * 20_000  # a few such events fill a socket

JSON_LINES, SSE = wire.JSON_LINES, wire.EVENT_STREAM


async def commit(api: Api, *numbers: int) -> None:
    def append(tx: Any) -> None:
        for number in numbers:
            labels = {"odd": str(number % 2), "padding": PADDING}
            tx.append(events.VolumeCreated(volume=Volume(name=f"v{number}", created_at=0, labels=labels)))

    await api.engine.store.transact(append)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often readers were told in the pass over all of them, and how often by their own tasks."""
    taken: Counter[str] = Counter()
    tell, write = Crowd.tell, Stream.write

    def counted_tell(self: Crowd) -> None:
        before = {place: place.position for row in self._rows.values() for place in row.leaving}
        tell(self)
        taken["crowd"] += sum(place.position > position for place, position in before.items())

    async def counted_write(self: Stream, data: bytes) -> None:
        taken["task"] += 1
        await write(self, data)

    monkeypatch.setattr(Crowd, "tell", counted_tell)
    monkeypatch.setattr(Stream, "write", counted_write)
    return taken


class Reader:
    """One client; `pace` is awaited before each piece that it reads."""

    def __init__(self, query: str, version: str, format: str, pace: Callable[[], Awaitable[None]]) -> None:
        self._request = f"GET /hawse/v1/events?follow=1{query} HTTP/{version}\r\nHost: x\r\nAccept: {format}\r\n\r\n"
        self.query, self._pace, self._body = query, pace, bytearray()
        self._chunked, self._format = version == "1.1", format
        self.follows = anyio.Event()

    async def read(self, api: Api) -> None:
        reader, writer = await asyncio.open_unix_connection(str(api.path), limit=1 << 16)
        try:
            writer.write(self._request.encode())
            await head(reader)
            self.follows.set()
            while piece := await reader.read(1 << 16):
                self._body += piece
                await self._pace()
        finally:
            writer.close()

    def has(self, name: str) -> bool:
        """Whole, as `documents` wants it: a piece may end in the middle of one."""
        at = self._body.rfind(b'"name":"%b"' % name.encode(), max(0, len(self._body) - 2 * len(PADDING)))
        end = (b"\n" if self._format == JSON_LINES else b"\n\n") + (b"\r\n" if self._chunked else b"")
        return at >= 0 and self._body.find(end, at) >= 0

    def documents(self) -> list[dict[str, Any]]:
        """What has arrived whole."""
        text = (_unchunked(bytes(self._body)) if self._chunked else bytes(self._body)).decode()
        if self._format == JSON_LINES:
            return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        blocks = text.split("\n\n")[:-1]
        fields = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
        return [json.loads(field["data"]) | {"id": field["id"], "type": field["event"]} for field in fields]


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        end = int(size, 16)
        if len(data) < end + 2:
            break
        assert data[end : end + 2] == b"\r\n"
        whole, data = whole + data[:end], data[end + 2 :]
    return whole


async def at_once() -> None:
    pass


def now_and_then(seed: int) -> Callable[[], Awaitable[None]]:
    dice = random.Random(seed)

    async def pause() -> None:
        if dice.random() < 0.1:
            await asyncio.sleep(dice.random() / 20)

    return pause


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_seq_once_in_order_between_the_head_and_the_past(
    api: Api, ways: Counter[str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Readers of all formats and speeds, and one that stops for the whole time."""
    monkeypatch.setattr(journal_module, "PAGE", 16)
    api.engine.store.journal._ring = type(api.engine.store.journal._ring)(maxlen=8)
    dice, total, go = random.Random(seed), 151, anyio.Event()
    readers = [
        Reader(query, version, format, pace)
        for pace in (at_once, now_and_then(seed), go.wait)
        for query in ("", '&filters=["label=odd=1"]')
        for version, format in (("1.0", JSON_LINES), ("1.1", JSON_LINES), ("1.1", SSE))
    ]
    first = api.engine.store.journal.head + 1
    last = f"v{total}"
    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            for reader in readers:
                tasks.start_soon(reader.read, api)
            for reader in readers:
                await reader.follows.wait()
            number = 1
            while number < total:
                count = min(dice.choice([1, 1, 1, 2, 12]), total - number)
                await commit(api, *range(number, number + count))
                number += count
                if dice.random() < 0.5:
                    await asyncio.sleep(dice.random() / 100)
            go.set()
            await commit(api, total)
            while not all(reader.has(last) for reader in readers):
                await asyncio.sleep(0.005)
            tasks.cancel_scope.cancel()
    for reader in readers:
        seqs = [document["seq"] for document in reader.documents() if document["type"] != "heartbeat"]
        assert seqs == list(range(first, first + total))[:: 2 if reader.query else 1]
    assert ways["crowd"] and ways["task"]


async def test_those_who_asked_for_the_same_get_the_same_bytes_made_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    newest = journal_module.Journal.newest

    def counted(self: journal_module.Journal, position: int, **how: Any) -> Any:
        made.append(position)
        return newest(self, position, **how)

    readers = [await api.send("GET", "/hawse/v1/events?follow=1&after=now") for _ in range(20)]
    for reader, _ in readers:
        await head(reader)
    monkeypatch.setattr(journal_module.Journal, "newest", counted)
    await commit(api, 1)
    lines = {await next_line(reader) for reader, _ in readers}
    assert len(lines) == 1 and json.loads(lines.pop())["seq"] == api.engine.store.journal.head
    assert made == [api.engine.store.journal.head - 1]
    for _, writer in readers:
        writer.close()


async def test_a_heartbeat_has_the_newest_cursor_wanted_or_not(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT", 3600.0)
    reader, writer = await api.send("GET", "/hawse/v1/events?follow=1&after=now&types=volume.*")
    await head(reader)
    await commit(api, 1)
    assert json.loads(await next_line(reader))["type"] == "volume.created"
    journal = api.engine.store.journal
    monkeypatch.setattr(wire, "HEARTBEAT", 0.01)
    monkeypatch.setattr(sys.modules[__name__], "PADDING", "")
    await api.engine.store.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=1)))
    await commit(api, *range(2, 1300))  # more than is kept in memory: its own task goes on, and looks at the clock
    await api.engine.store.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=2)))
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1] != {"type": "heartbeat", "cursor": journal.cursor}:
        seen += map(json.loads, (await next_line(reader)).splitlines())
    writer.close()
    told = [line["seq"] for line in seen if line["type"] != "heartbeat"]
    assert told == list(range(journal.head - 1298, journal.head))


async def test_the_time_of_an_end_holds_for_those_at_the_head_too(api: Api) -> None:
    api.engine.parts = replace(api.engine.parts, clock=lambda: 0)
    reader, writer = await api.send("GET", "/hawse/v1/events?follow=1&after=now&until=0.2")
    await head(reader)
    await commit(api, 1)  # by the store's clock long after
    assert await asyncio.wait_for(reader.readexactly(5), 20) == b"0\r\n\r\n"
    assert not api.engine.store.journal.crowd
    writer.close()
