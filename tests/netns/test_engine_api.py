"""The engine proper keeps what the API relies on: its containers run, in namespaces of the test's, and there is no server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hawse.cli.selftest.waiting import PATIENCE
from hawse.handlers import BUILTIN
from hawse.supervisor.engine import Engine
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_hierarchy import detect
from hawse.supervisor.network.core import NetworkCore
from hawse.supervisor.network.drivers.registry import Registry
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import copies
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.serving import serving
from hawse.supervisor.store.store import Store
from tests.netns.boxes import make_root
from tests.netns.conftest import Machine
from tests.netns.launching import spawner
from tests.unit.api.engine_contract import EngineContract
from tests.unit.parts import make_parts

__all__ = ["spawner"]  # a fixture


@pytest.fixture
async def parts(host: Machine, spawner: Spawner, tmp_path: Path) -> AsyncIterator[Parts]:
    """The daemon's, with doors to a kernel; what is in its cgroups ends with the test."""
    cgroups = detect(f"t{os.getpid()}")
    network = NetworkCore(instance="", table="hawse", tag="hawse", drivers=Registry)
    copies.make_directories(tmp_path)
    async with await Store.open(tmp_path / "state.db", time.time_ns) as store:
        made = await make_parts(tmp_path, store, time.time_ns)
        await network.start()
        yield replace(made, network=network, spawner=spawner, cgroups=cgroups)
        await network.close()
    for owner in cgroups.owners():
        Cgroup.open(cgroups, owner).remove(PATIENCE)
    cgroups.remove()


class TestTheEngine(EngineContract):
    @pytest.fixture
    async def engine(self, parts: Parts) -> AsyncIterator[Engine]:
        """It serves in a task of its own, in which its tasks' group is opened and closed."""
        ready, over = asyncio.get_running_loop().create_future(), asyncio.Event()

        async def serve() -> None:
            async with serving(parts, BUILTIN) as engine:
                ready.set_result(engine)
                await over.wait()
                for container in await engine.containers():
                    await engine.remove(container.id, force=True)

        served = asyncio.create_task(serve())
        await asyncio.wait({ready, served}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await served
        yield ready.result()
        over.set()
        await served

    @pytest.fixture
    def rootfs(self, tmp_path: Path) -> str:
        make_root(tmp_path / "lower")
        for path in (tmp_path, *tmp_path.parents):
            if path.name.startswith("pytest-"):
                path.chmod(0o711)  # the mapped root walks through it
        return str(tmp_path / "lower")
