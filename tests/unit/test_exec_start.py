"""Execs in a container that ends under them."""

from __future__ import annotations

import random
from types import SimpleNamespace

import anyio
import pytest

from hawse.supervisor.errors import Conflict
from hawse.supervisor.lifecycle.execs import ExecConfig, Execs
from hawse.supervisor.model import State


async def test_one_in_a_container_whose_end_is_just_being_told_is_a_conflict(store, samples):
    """The record that was read says running, and the shim is gone by the time that it is asked for."""
    container = samples.container(1, state=State.RUNNING)
    await store.transact(lambda tx: tx.put(container))
    parts = SimpleNamespace(store=store, shims={}, random=random.Random(1), seccomp_filter=lambda _: "")
    async with anyio.create_task_group() as tasks:
        execs = Execs(parts, tasks)
        fresh = await execs.create(container.name, ExecConfig(argv=("true",)))
        with pytest.raises(Conflict, match="is not running"):
            await execs.start(fresh.id, None, b"")
    assert not fresh.running
