"""The copies of the records: they are what the store says, written or not written before."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.model import Verb, Volume, Wish, decoder
from hawse.supervisor.reconcile import copies
from hawse.supervisor.reconcile.copies import ContainerCopy, Copies
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx
from tests.unit.conftest import Samples, before_wishes


def names(root: Path, kind: str) -> list[str]:
    return sorted(path.stem for path in (copies.directory(root) / kind).iterdir())


async def until(root: Path, kind: str, wanted: list[str]) -> None:
    with anyio.fail_after(60):
        while names(root, kind) != sorted(wanted):
            await anyio.sleep(0.005)


async def test_they_follow_the_journal(tmp_path: Path) -> None:
    copies.make_directories(tmp_path)
    container = Samples().container()

    def create(tx: Tx) -> None:
        tx.put(container)
        tx.append(events.ContainerCreated(container=container))
        for name in ("things", "x" * 252):
            volume = Volume(name=name, created_at=1)
            tx.put_volume(volume)
            tx.append(events.VolumeCreated(volume=volume))

    def remove(tx: Tx) -> None:
        tx.delete_container(container.id)
        tx.append(events.ContainerRemoved(container=container))

    async with await Store.open(tmp_path / "s.db", time.time_ns) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(Copies(tmp_path, store).run)
        await store.transact(create)
        await until(tmp_path, "container", [container.id])
        await until(tmp_path, "volume", ["things"])  # there is no file of the other's name
        (text,) = copies.read(tmp_path, "container")
        assert decoder(ContainerCopy).decode(text).container == container
        await store.transact(remove)
        await until(tmp_path, "container", [])
        tasks.cancel_scope.cancel()


async def test_what_changed_while_nobody_wrote_is_made_up_for(tmp_path: Path) -> None:
    copies.make_directories(tmp_path)
    (copies.directory(tmp_path) / "volume" / "gone.json").write_text("{}")
    (copies.directory(tmp_path) / "volume" / "old.json").write_text("{}")
    async with await Store.open(tmp_path / "s.db", time.time_ns) as store:
        for name in ("old", "new"):
            await store.transact(lambda tx, name=name: tx.put_volume(Volume(name=name, created_at=1)))  # type: ignore[misc]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Copies(tmp_path, store).run)
            await until(tmp_path, "volume", ["new", "old"])
            with anyio.fail_after(60):
                while b"{}" in copies.read(tmp_path, "volume"):
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()


def test_a_copy_of_before_says_its_wish() -> None:
    container = Samples().container()
    old = before_wishes(container, stopped_by_user=True, ended_by="stop", end_signal=15, end_grace=10)
    text = copies.renewed(msgspec.json.encode({"container": old, "leases": [], "endpoints": []}))
    wished = replace(container, wish=Wish(verb=Verb.STOP, signal=15, grace=10))
    assert decoder(ContainerCopy).decode(text) == ContainerCopy(container=wished)
    assert copies.renewed(text) == text
    for damaged in (b"{", b"[]"):
        with pytest.raises(msgspec.DecodeError):
            copies.renewed(damaged)
