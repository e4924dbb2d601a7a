"""Execs in a container that ends under them."""

from __future__ import annotations

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict
from hawse.supervisor.core.model import State
from hawse.supervisor.lifecycle.execs import ExecConfig, Execs


async def test_one_in_a_container_whose_end_is_just_being_told_is_a_conflict(parts, samples):
    """The record that was read says running, and the shim is gone by the time that it is asked for."""
    container = samples.container(1, state=State.RUNNING)
    await parts.store.transact(lambda tx: tx.put(container))
    async with anyio.create_task_group() as tasks:
        execs = Execs(parts, tasks)
        fresh = await execs.create(container.name, ExecConfig(argv=("true",)))
        with pytest.raises(Conflict, match="is not running"):
            await execs.start(fresh.id, None, b"")
    assert not fresh.running


async def test_an_end_that_was_written_down_while_it_is_taken_over_is_told_once(parts, store, samples):
    """The container ends between the look into the journal and the shim's answer."""
    container = samples.container(1, state=State.RUNNING)

    def begin(tx):
        tx.put(container)
        for exec_id in ("one", "two"):
            tx.append(events.ExecStarted(container=container, exec_id=exec_id, argv=("true",)))

    class Taken:
        """The shim that is taken over."""

        id = container.id

        async def state(self):
            if not await store.read(lambda tx: tx.last_events("", events.ExecEnded.TYPE)):
                await store.transact(lambda tx: tx.append(events.ExecEnded(container=container, exec_id="one")))
            return {"execs": {"one": {"pid": 1}, "two": {"pid": 2}}}

        async def exec_exit(self, _):
            return 3

    await store.transact(begin)
    parts.live.shims[container.id] = Taken()
    async with anyio.create_task_group() as tasks:
        await Execs(parts, tasks).adopt()
    ended = [e.fact for e in await store.read(lambda tx: tx.last_events("", events.ExecEnded.TYPE))]
    assert [(e.exec_id, e.code) for e in ended] == [("one", None), ("two", 3)]
    assert parts.live.followed_execs == set()


async def test_which_have_no_end_in_the_journal(store, samples):
    first, second = samples.container(1), samples.container(2)

    def tell(tx):
        for container in (first, second):
            tx.put(container)
        begun = [
            tx.append(events.ExecStarted(container=c, exec_id=i, argv=("true",)))
            for c, i in ((first, "a"), (first, "b"), (second, "c"), (first, "d"))
        ]
        tx.append(events.ExecEnded(container=first, exec_id="b", code=0))
        return begun

    a, _, c, d = await store.transact(tell)
    assert await store.read(lambda tx: tx.unended_execs(first.id)) == {"a": a.id, "d": d.id}
    assert await store.read(lambda tx: tx.unended_execs(second.id)) == {"c": c.id}
    assert await store.read(lambda tx: tx.unended_execs("f" * 64)) == {}
