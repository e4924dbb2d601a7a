"""The keeper's rounds, with real locks and a world of cables that are in or out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from hawse.supervisor.locks import KeyedLocks
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import keeper as keeper_module
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.keeper import Keeper
from hawse.supervisor.reconcile.plan import Action, Kind


class World:
    """Containers a and b, whose cables are out.  `in_between` runs after a look and before the repairs that follow from it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = {"a", "b"}
        self.gone: set[str] = set()  # removed
        self.locks = KeyedLocks()
        self.hanging: dict[str, anyio.Event] = {}  # whose shim gives no answer until then
        self.looks = 0
        self.told: list[str] = []
        self.laid: list[str] = []
        self.in_between: Any = lambda: None
        monkeypatch.setattr(repairs, "judge", self.judge)
        monkeypatch.setattr(repairs, "_replug", self.replug)
        monkeypatch.setattr(keeper_module, "NetlinkWatch", lambda *_: SimpleNamespace(close=lambda: None))
        parts: Any = SimpleNamespace(
            locks=self.locks, config=SimpleNamespace(audit_interval=3600.0, table=""), store=self
        )
        self.journal = self
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

    # the store, as far as the keeper needs it

    @contextmanager
    def subscribe(self, _: object) -> Iterator[None]:
        yield

    async def read(self, _: object) -> None: ...

    async def transact(self, tell: Any) -> None:
        known = SimpleNamespace(
            container=lambda id_: id_ not in self.gone, network=bool, append=lambda f: self.told.append(f.container_id)
        )
        tell(known)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


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
    world.gone.add("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.keeper.run)
        await until(lambda: len(world.told) == 2)
        tasks.cancel_scope.cancel()
    assert sorted(world.told) == ["", "b"]
