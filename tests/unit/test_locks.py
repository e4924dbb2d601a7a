from __future__ import annotations

import anyio
import pytest

from hawse.supervisor.locks import Busy, KeyedLocks


async def test_one_key_is_serial_and_different_keys_are_not() -> None:
    locks = KeyedLocks()
    inside: list[str] = []
    most: dict[str, int] = {}

    async def work(key: str) -> None:
        async with locks.hold(key):
            inside.append(key)
            most[key] = max(most.get(key, 0), inside.count(key))
            most["all"] = max(most.get("all", 0), len(inside))
            await anyio.lowlevel.checkpoint()
            inside.remove(key)

    async with anyio.create_task_group() as group:
        for key in ("a", "b", "a", "b", "a"):
            group.start_soon(work, key)
    assert most == {"a": 1, "b": 1, "all": 2}


async def test_a_lock_nobody_wants_is_forgotten_even_after_a_failure() -> None:
    locks = KeyedLocks()
    try:
        async with locks.hold("a"):
            raise ValueError
    except ValueError:
        pass
    assert not locks._locks


async def test_who_does_not_care_to_wait_is_told_and_leaves_no_trace() -> None:
    locks = KeyedLocks()

    async def ask() -> None:
        with pytest.raises(Busy):
            async with locks.hold("a", within=0.01):
                raise AssertionError

    async with locks.hold("a"), anyio.create_task_group() as group:
        group.start_soon(ask)
    async with locks.hold("a", within=5):
        pass
    assert not locks._locks
