"""An answer that tells of a change leaves when the change is on the disk; with durable = off at once."""

from __future__ import annotations

import asyncio
import os
import tarfile
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest

from hawse.supervisor.api.server import make_app, serve
from hawse.supervisor.process.config import Config
from hawse.supervisor.store.store import Store
from tests.unit.api.client import Api
from tests.unit.api.fake_engine import BUSYBOX, FakeEngine
from tests.unit.parts import make_parts

CREATE = "/containers/create?name=one"
BODY = {"Image": "busybox", "Cmd": ["true"]}


class Disk:
    """Takes the place of fdatasync(2): slow, or broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.refuses = False
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, fd: int) -> None:
        assert self.free.wait(60)
        if self.refuses:
            raise OSError(5, "Input/output error")


@pytest.fixture
def disk(api: Api, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The API has begun to serve before the disk becomes bad."""
    return Disk(monkeypatch)


async def stays_away(answer: asyncio.Task[object]) -> bool:
    done, _ = await asyncio.wait([answer], timeout=0.3)
    return not done


async def test_an_answer_waits_for_the_disk_and_a_question_does_not(api: Api, disk: Disk) -> None:
    answer = asyncio.create_task(api.json("POST", CREATE, BODY))
    assert await stays_away(answer)
    assert (await api.json("GET", "/containers/one/json"))[0] == 200, "it is done, it is only not told yet"
    disk.free.set()
    assert (await answer)[0] == 201


async def test_a_refusal_tells_of_what_another_request_has_done(api: Api, disk: Disk) -> None:
    first = asyncio.create_task(api.json("POST", CREATE, BODY))
    assert await stays_away(first)
    second = asyncio.create_task(api.json("POST", CREATE, BODY))
    assert await stays_away(second)
    disk.free.set()
    assert {(await first)[0], (await second)[0]} == {201, 409}


async def test_a_stream_s_head_waits(api: Api, disk: Disk) -> None:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    reader, writer = await api.send("POST", "/images/create?fromSrc=-&repo=small", archive.getvalue())
    answer = asyncio.create_task(reader.readline())
    assert await stays_away(answer)
    disk.free.set()
    assert b"200" in await answer
    writer.close()


async def test_a_disk_that_refuses_is_an_error_of_the_request(api: Api, disk: Disk) -> None:
    disk.refuses = True
    disk.free.set()
    status, answer = await api.json("POST", CREATE, BODY)
    assert status == 503 and answer["message"].startswith("it was done, but a power cut may undo it: ")
    assert (await api.json("GET", "/containers/one/json"))[0] == 200


async def test_off(tmp_path: Path, disk: Disk) -> None:
    disk.free.set()
    config = Config(root=tmp_path, run_dir=tmp_path, host=tmp_path / "off.sock", durable=False)
    async with await Store.open(tmp_path / "off.db") as store:
        engine = FakeEngine(await make_parts(tmp_path, store, time.time_ns))
        await store.transact(lambda tx: tx.put_image(BUSYBOX))
        disk.free.clear()
        async with serve(make_app(engine, config), config):
            status, _ = await Api(engine, config.socket_path).json("POST", CREATE, BODY)
        disk.free.set()
    assert status == 201
