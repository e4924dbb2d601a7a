"""Volumes: rows, directories, who uses them, and what a removal leaves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, NotFound, Unavailable, UserError
from hawse.supervisor.core.model import ContainerConfig, MountSpec, State
from hawse.supervisor.lifecycle import creating, volumes
from hawse.supervisor.lifecycle.volumes import TRASH, Volumes
from hawse.supervisor.linux import threads
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx


@pytest.fixture
def clock() -> Callable[[], int]:
    """The files' own: what happened is compared with their times."""
    return time.time_ns


@pytest.fixture
def parts(parts: Parts) -> Parts:
    Volumes(parts).make()
    return parts


def mounting(*sources: str) -> ContainerConfig:
    return ContainerConfig(
        mounts=tuple(MountSpec(type="volume", source=s, target=f"/{i}") for i, s in enumerate(sources))
    )


async def test_creating_one_twice_gives_the_same(parts: Parts) -> None:
    first = await Volumes(parts).create("data", {"a": "b"})
    assert await Volumes(parts).create("data", {}) == first
    assert parts.places.volume("data").is_dir() and not first.anonymous
    assert len(await parts.store.read(lambda tx: tx.events(types=["volume.created"]))) == 1
    with pytest.raises(UserError, match="invalid characters"):
        await Volumes(parts).create("../etc", {})


async def test_a_container_s_volumes_get_rows_names_and_directories(parts: Parts, samples: Any) -> None:
    config = await parts.store.transact(lambda tx: volumes.claim(tx, parts, mounting("data", "")))
    named, anonymous = (m.source for m in config.mounts)
    assert named == "data" and len(anonymous) == 64
    volumes.make_directories(parts.places, config)
    volumes.make_directories(parts.places, config)
    assert parts.places.volume("data").is_dir() and parts.places.volume(anonymous).is_dir()
    assert await volumes.anonymous_of(parts.store, config) == [anonymous]
    given = await parts.store.transact(lambda tx: volumes.claim(tx, parts, mounting(anonymous)))
    assert await volumes.anonymous_of(parts.store, given) == [], "by its name it may be anybody's"


async def test_one_that_is_used_stays_and_one_that_is_not_goes_with_its_files(parts: Parts, samples: Any) -> None:
    user = replace(samples.container(1), config=mounting("data"))
    await parts.store.transact(lambda tx: (volumes.claim(tx, parts, user.config), tx.put(user)))
    volumes.make_directories(parts.places, user.config)
    (parts.places.volume("data") / "file").write_text("12345")
    with pytest.raises(Conflict, match=f"volume is in use - \\[{user.id}\\]"):
        await Volumes(parts).remove("data")
    assert (parts.places.volume("data") / "file").read_text() == "12345"
    assert await Volumes(parts).unused(lambda _: True) == []
    await parts.store.transact(lambda tx: tx.delete_container(user.id))
    assert [v.name for v in await Volumes(parts).unused(lambda _: True)] == ["data"]
    assert await Volumes(parts).discard(["data"]) == 5
    assert not parts.places.volume("data").exists()
    assert list((parts.places.root / TRASH).iterdir()) == []
    with pytest.raises(NotFound, match="no such volume"):
        await Volumes(parts).remove("data")
    await Volumes(parts).remove("data", force=True)


async def test_a_removal_that_is_refused_or_not_committed_loses_no_files(parts: Parts, samples: Any) -> None:
    """Removed together with one in use, as a prune does that somebody overtakes; or on a full disk."""
    for name in ("data", "used"):
        await Volumes(parts).create(name, {})
        (parts.places.volume(name) / "kept").write_text(name)
    await parts.store.transact(lambda tx: tx.put(samples.container(config=mounting("used"))))
    with pytest.raises(Conflict, match="in use"):
        await Volumes(parts).discard(["data", "used"])
    removal = volumes.Removal(parts, ["data"])

    def fail(tx: Tx) -> None:
        removal.forget(tx)
        raise Unavailable("the disk is full")

    with pytest.raises(Unavailable):
        await removal.transact(fail)
    assert [(parts.places.volume(name) / "kept").read_text() for name in ("data", "used")] == ["data", "used"]
    assert await parts.store.read(lambda tx: tx.find_volume("data"))


async def test_one_whose_removal_a_crash_prevented_is_put_back_and_a_later_one_of_its_name_is_not_mistaken(
    parts: Parts, samples: Any
) -> None:
    for name in ("data", "gone"):
        await Volumes(parts).create(name, {})
        (parts.places.volume(name) / "kept").write_text(name)

    def crash(tx: Tx) -> None:
        volumes.Removal(parts, ["data", "gone"]).forget(tx)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await parts.store.transact(crash)
    assert not parts.places.volume("data").exists()
    later = replace(await parts.store.read(lambda tx: tx.find_volume("gone")), created_at=1)
    await parts.store.transact(lambda tx: (tx.delete_volume("gone"), tx.put_volume(later)))
    await volumes.settle(parts.places, parts.store)
    assert (parts.places.volume("data") / "kept").read_text() == "data"
    assert not parts.places.volume("gone").exists()


async def test_a_directory_that_a_power_cut_brought_back_goes_and_one_that_a_user_brought_stays(parts: Parts) -> None:
    """The row's removal was on the disk, and the directory's way into the trash was not."""
    for name in ("cut", "restored"):
        await Volumes(parts).create(name, {})
        os.rename(parts.places.volume(name), parts.places.root / name)
    (parts.places.root / "cut").rename(parts.places.volume("cut"))
    await asyncio.sleep(0.02)  # the kernel's clock for inodes ticks in hundredths
    for name in ("cut", "restored"):
        volume = await parts.store.read(lambda tx, name=name: tx.find_volume(name))
        await parts.store.transact(
            lambda tx, volume=volume: (tx.delete_volume(volume.name), tx.append(events.VolumeRemoved(volume=volume)))
        )
    await asyncio.sleep(0.02)
    (parts.places.root / "restored").rename(parts.places.volume("restored"))
    parts.places.volume("unheard-of").mkdir()
    await volumes.settle(parts.places, parts.store)
    assert {path.name for path in parts.places.volumes.iterdir()} - {".filling"} == {
        "restored",
        "unheard-of",
    }
    assert [path.name for path in (parts.places.root / volumes.TRASH).glob("volume-*/*")] == ["cut"]


async def test_a_container_takes_its_own_volumes_with_it_but_those_of_others(parts: Parts, samples: Any) -> None:
    config = await parts.store.transact(lambda tx: volumes.claim(tx, parts, mounting("", "")))
    own, shared = (m.source for m in config.mounts)
    volumes.make_directories(parts.places, config)
    first, second = samples.container(1, config=config), samples.container(2, config=mounting(shared))
    await parts.store.transact(lambda tx: (tx.put(first), tx.put(second)))
    removal = volumes.Removal(parts, await volumes.anonymous_of(parts.store, config))
    await creating.forget(parts, first, removal)
    await removal.delete()
    assert await parts.store.read(lambda tx: [v.name for v in tx.volumes()]) == [shared]
    assert parts.places.volume(shared).is_dir() and not parts.places.volume(own).exists()
    told = await parts.store.read(lambda tx: tx.last_events(limit=2))
    assert [event.type for event in told] == ["container.removed", "volume.removed"]


async def test_the_machine_decides_that_a_container_is_removed(parts: Parts, samples: Any) -> None:
    """The last record that anybody sees of it, in its event, went through the table as all others did."""
    made = samples.container(1)
    await parts.store.transact(lambda tx: tx.put(made))
    await creating.forget(parts, made, volumes.Removal(parts, []))
    (told,) = await parts.store.read(lambda tx: tx.last_events(limit=1))
    assert (told.fact.container.state, told.fact.container.story) == (State.REMOVING, ("Removed→removing",))


async def test_the_removal_of_one_without_volumes_looks_at_no_other_and_takes_no_thread(
    parts: Parts, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or `rm -f` of many grows with the square of how many there are."""
    first, other = samples.container(1), samples.container(2)
    await parts.store.transact(lambda tx: (tx.put(first), tx.put(other)))
    asked: list[str] = []
    with monkeypatch.context() as watched:
        watched.setattr(Tx, "containers", lambda tx: asked.append("containers") or [])
        watched.setattr(threads, "run_sync", lambda *_: asked.append("thread"))
        none = volumes.Removal(parts, [])
        await creating.forget(parts, first, none)
        assert await none.delete() == 0
    assert asked == []
    assert await parts.store.read(lambda tx: tx.containers()) == [other]
