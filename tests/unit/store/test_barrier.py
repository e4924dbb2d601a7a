"""What is on the disk when an answer leaves: one flush for all who wait, none for nobody, and a word when it fails.

A power cut is played: what the barrier's flush has reached is copied aside, and the copy is what the next boot would find.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.store.store import Store


class Disk:
    """Takes the place of fdatasync(2); `put` holds it, as a slow disk does."""

    def __init__(self, database: Path, kept: Path) -> None:
        self.database, self.kept = database, kept
        self.flushes = 0
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Event()
        self.failing = False

    def sync(self, fd: int) -> None:
        assert os.readlink(f"/proc/self/fd/{fd}") == f"{self.database}-wal"
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir()
        for path in self.database.parent.glob(f"{self.database.name}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, self.kept)
        self.flushes += 1
        self.begun.set()
        assert self.free.wait(60)
        if self.failing:
            raise OSError(5, "Input/output error")

    async def after_power_cut(self, key: str) -> str:
        async with await Store.open(self.kept / self.database.name) as found:
            return await found.read(lambda tx: tx.meta(key))


@pytest.fixture
def disk(tmp_path, monkeypatch):
    made = Disk(tmp_path / "state" / "hawse.db", tmp_path / "kept")
    made.database.parent.mkdir()
    monkeypatch.setattr(os, "fdatasync", made.sync)
    return made


@pytest.fixture
async def flushed(disk):
    async with await Store.open(disk.database, boot_id="one") as store:
        yield store


def put(key: str):
    return lambda tx: tx.put_meta(key, "there")


async def test_what_was_committed_is_on_the_disk_when_durable_returns(flushed, disk, monkeypatch):
    await flushed.transact(put("a"))
    await flushed.durable()
    await flushed.transact(put("b"))
    monkeypatch.undo()
    assert (await disk.after_power_cut("a"), await disk.after_power_cut("b")) == ("there", "")


async def test_nobody_waits_for_nothing(flushed, disk):
    await flushed.transact(put("a"))
    await flushed.durable()
    before = disk.flushes
    await flushed.durable()
    await flushed.transact(lambda tx: tx.meta("a"))
    await flushed.transact(put("b"), owed=False)
    with pytest.raises(ZeroDivisionError):
        await flushed.transact(lambda tx: 1 / 0)
    await flushed.durable()
    assert disk.flushes == before


async def test_all_who_wait_share_a_flush_and_who_comes_during_one_gets_the_next(flushed, disk):
    disk.free.clear()
    disk.begun.clear()
    before = disk.flushes
    await flushed.transact(put("first"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flushed.durable)
        await asyncio.to_thread(disk.begun.wait, 60)
        for n in range(16):
            await flushed.transact(put(f"later-{n}"))
            tasks.start_soon(flushed.durable)
        await asyncio.sleep(0)
        disk.free.set()
    assert disk.flushes == before + 2


async def test_a_log_that_begins_anew_keeps_its_promise(flushed, disk, monkeypatch):
    for n in range(50):
        await flushed.transact(put(f"n{n}"))
        await flushed.checkpoint()
    await flushed.transact(put("last"))
    await flushed.durable()
    monkeypatch.undo()
    assert [await disk.after_power_cut(key) for key in ("n0", "n49", "last")] == ["there"] * 3


async def test_the_epoch_is_on_the_disk_before_the_first_event_is_heard(disk, monkeypatch):
    """Else a power cut right after a start would give the same ids to other events."""
    async with await Store.open(disk.database, boot_id="one"):
        pass
    async with await Store.open(disk.database, boot_id="two") as store:
        event = await store.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=1)))
        monkeypatch.undo()
        async with await Store.open(disk.kept / disk.database.name, boot_id="three") as after:
            other = await after.transact(lambda tx: tx.append(events.DaemonStarted(version="1", pid=2)))
    assert event.seq == other.seq and event.id != other.id


async def test_a_disk_that_refuses_is_told_and_believed_again_only_after_all_was_written_anew(
    flushed, disk, monkeypatch
):
    """fsync(2): the kernel tells of a lost page once, and the next flush, which has nothing to write, succeeds."""
    disk.failing = True
    await flushed.transact(put("a"))
    with pytest.raises(Unavailable, match=r"it was done, but a power cut may undo it.*Input/output error"):
        await flushed.durable()
    disk.failing = False
    await flushed.durable()  # copies the log into the database before it flushes
    monkeypatch.undo()
    (disk.kept / f"{disk.database.name}-wal").unlink()
    assert await disk.after_power_cut("a") == "there", "only in the log, whose pages may be lost"
