"""The keeper's rounds, with real locks and a world of cables that are in or out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from hawse.supervisor.core.events import Event, NetworkRepaired
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import keeper as keeper_module
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.keeper import Keeper
from hawse.supervisor.reconcile.plan import Action, Kind
from tests.unit.conftest import Samples


class Deaf:
    """A watch to which the kernel says nothing."""

    def __init__(self, *_: object) -> None: ...

    def close(self) -> None: ...


class World:
    """Containers a and b, whose cables are out.  `in_between` runs after a look and before the repairs that follow from it."""

    def __init__(self, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = {"a", "b"}
        self.parts, self.locks = parts, parts.live.locks
        self.hanging: dict[str, anyio.Event] = {}  # whose shim gives no answer until then
        self.looks = 0
        self.told: list[str] = []
        self.laid: list[str] = []
        self.in_between: Any = lambda: None
        monkeypatch.setattr(repairs, "judge", self.judge)
        monkeypatch.setattr(repairs, "_replug", self.replug)
        monkeypatch.setattr(keeper_module, "NetlinkWatch", Deaf)
        parts.settings.config = replace(parts.config, audit_interval=3600.0)
        self.keeper = Keeper(parts, self.finish_removal, lambda: None)

    async def judge(self, _: Parts) -> tuple[list[Action], frozenset[str]]:
        with self.locks.watching() as busy:
            await anyio.lowlevel.checkpoint()
        actions = [
            Action(kind=Kind.REPLUG, object=f"link {name}", problem="missing", container_id=name)
            for name in sorted(self.out - busy)
        ]
        self.looks += 1
        self.in_between()
        return actions, frozenset(busy)

    async def replug(self, _: Parts, container_id: str, __: Action) -> None:
        if hanging := self.hanging.get(container_id):
            await hanging.wait()
        self.laid.append(container_id)
        self.out.discard(container_id)

    async def finish_removal(self, _: str) -> None:
        raise AssertionError

    def hear(self, event: Event) -> None:
        if isinstance(event.fact, NetworkRepaired):
            self.told.append(event.fact.container_id)


@pytest.fixture
async def world(parts: Parts, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(parts, monkeypatch)
    for name in sorted(world.out):
        await parts.store.transact(lambda tx, name=name: tx.put(samples.container(id=ContainerId(name), name=name)))  # type: ignore[misc]
    with parts.store.journal.subscribe(world.hear):
        yield world


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


@pytest.mark.parametrize("lays_it_itself", [False, True])
async def test_a_verb_that_begins_between_look_and_repair_delays_no_other_container(
    world: World, lays_it_itself: bool
) -> None:
    let_go, begun = anyio.Event(), anyio.Event()

    async def verb() -> None:
        async with world.locks.hold("a"):
            await let_go.wait()
            if lays_it_itself:
                world.out.discard("a")

    def begin() -> None:  # its task is first in the queue, so it has the lock before the repair asks for it
        if not begun.is_set():
            begun.set()
            tasks.start_soon(verb)

    world.in_between = begin
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.keeper.run)
        await until(lambda: "b" not in world.out)
        looks = world.looks
        world.out.add("b")
        world.keeper.damaged("b's cable was pulled again", "")
        await until(lambda: "b" not in world.out)
        assert world.looks > looks and "a" in world.out, "while the verb is still at work"
        looks = world.looks
        let_go.set()
        await until(lambda: "a" not in world.out and world.looks > looks)
        await until(lambda: world.told == (["b", "b"] if lays_it_itself else ["b", "b", "a"]))
        assert world.laid == world.told
        tasks.cancel_scope.cancel()


async def test_a_shim_that_hangs_delays_no_other_container(world: World) -> None:
    world.hanging["a"] = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.keeper.run)
        await until(lambda: "b" not in world.out)
        world.out.add("b")
        world.keeper.damaged("b's cable was pulled again", "")
        await until(lambda: "b" not in world.out)
        assert "a" in world.out
        looks = world.looks
        world.hanging["a"].set()
        await until(lambda: "a" not in world.out)
        await until(lambda: world.looks > looks)  # what it uncovers is seen at once
        tasks.cancel_scope.cancel()


async def test_nothing_is_told_of_a_container_that_was_removed_since_the_repair(world: World) -> None:
    await world.parts.store.transact(lambda tx: tx.delete_container(ContainerId("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.keeper.run)
        await until(lambda: len(world.told) == 2)
        tasks.cancel_scope.cancel()
    assert sorted(world.told) == ["", "b"]
