"""What the API relies on: results, and errors of exactly the class that becomes the answer's status.

An engine passes when a test class has these as its base and the fixtures `engine` and `rootfs`.  The names of test programs
stand for what they do: of an engine without a kernel none runs.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from hawse.cli.selftest.waiting import PATIENCE
from hawse.supervisor.api.engine_api import EngineApi
from hawse.supervisor.core.errors import Conflict, Forbidden, HawseError, NotFound, NotModified, StartError, UserError
from hawse.supervisor.core.model import Container, ContainerConfig, EndpointRequest, NetworkName, Resources, State
from hawse.supervisor.lifecycle.execs import ExecConfig
from hawse.supervisor.runtime.client import AttachOptions

Make = Callable[..., Awaitable[Container]]
N1, ON_N1 = NetworkName("n1"), EndpointRequest(network=NetworkName("n1"))


async def refused(doing: Awaitable[Any], error: type[HawseError]) -> str:
    """What it says; one of a class below the expected is another answer."""
    with pytest.raises(error) as raised:
        await doing
    assert type(raised.value) is error
    return str(raised.value)


async def ended(engine: EngineApi, container: Container) -> int | None:
    async with engine.waiting(container.id, "not-running") as wait:
        return (await asyncio.wait_for(wait(), PATIENCE)).code


class EngineContract:
    @pytest.fixture
    def make(self, engine: EngineApi, rootfs: str) -> Make:
        async def make(*argv: str, name: str = "", start: bool = True, **config: Any) -> Container:
            """A container that runs `cat` unless it is told otherwise."""
            given = {"rootfs": rootfs, "cmd": argv or ("cat",), "stdin_open": True, "network_mode": "none", **config}
            made = await engine.create(ContainerConfig(**given), name)
            return await engine.start(made.id) if start else made

        return make

    # ---- names -------------------------------------------------------------------------------------------------------

    async def test_it_is_found_by_its_id_a_prefix_of_it_and_its_name(self, engine: EngineApi, make: Make) -> None:
        made = await make(name="one", start=False)
        assert made.state is State.CREATED and made.name == "one"
        for ref in (made.id, made.id[:12], "one"):
            assert await engine.container(ref) == made
        assert (await make(start=False)).name, "one is invented"

    @pytest.mark.parametrize(
        "verb",
        [
            lambda e: e.container("absent"),
            lambda e: e.start("absent"),
            lambda e: e.stop("absent"),
            lambda e: e.restart("absent"),
            lambda e: e.kill("absent", signal.SIGKILL),
            lambda e: e.pause("absent"),
            lambda e: e.unpause("absent"),
            lambda e: e.rename("absent", "present"),
            lambda e: e.update("absent", lambda config: config),
            lambda e: e.remove("absent"),
            lambda e: e.connect("absent", "n1", ON_N1),
            lambda e: e.disconnect("absent", "n1"),
            lambda e: e.commit("absent"),
            lambda e: e.resize("absent", 24, 80),
            lambda e: e.waiting("absent", "removed").__aenter__(),
            lambda e: e.execs.create("absent", ExecConfig(argv=("true",))),
            lambda e: e.execs.running("absent"),
        ],
    )
    async def test_what_is_not_there_is_not_found(
        self, engine: EngineApi, verb: Callable[[EngineApi], Awaitable[Any]]
    ) -> None:
        await engine.networks.create("n1")
        assert "No such container: absent" in await refused(verb(engine), NotFound)

    async def test_a_name_is_one_container_s(self, engine: EngineApi, make: Make) -> None:
        made = await make(name="one", start=False)
        other = await make(name="two", start=False)
        for taking in (make(name="one", start=False), engine.rename(other.id, "one")):
            said = await refused(taking, Conflict)
            assert 'The container name "/one" is already in use by container' in said and made.id in said
        for bad in (make(name="a b", start=False), engine.rename(other.id, "a b")):
            assert "Invalid container name (a b)" in await refused(bad, UserError)
        await engine.rename(other.id, "three")
        assert (await engine.container("three")).id == other.id
        assert await refused(engine.container("two"), NotFound)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def test_what_it_already_is_is_not_modified(self, engine: EngineApi, make: Make) -> None:
        made = await make(start=False)
        assert "is not running" in await refused(engine.stop(made.id), NotModified)
        started = await engine.start(made.id)
        assert started.state is State.RUNNING and started.started_at and started.process
        assert "is already running" in await refused(engine.start(made.id), NotModified)
        await engine.stop(made.id, timeout=0)
        stopped = await engine.container(made.id)
        assert stopped.state is State.EXITED and stopped.exit is not None
        await refused(engine.stop(made.id), NotModified)

    async def test_what_needs_a_running_one_is_a_conflict_without(self, engine: EngineApi, make: Make) -> None:
        made = await make(start=False)
        for doing in (
            engine.kill(made.id, signal.SIGKILL),
            engine.pause(made.id),
            engine.resize(made.id, 24, 80),
            engine.execs.create(made.id, ExecConfig(argv=("true",))),
            engine.execs.running(made.id),
        ):
            assert f"container {made.id} is not running" in await refused(doing, Conflict)
        assert f"container {made.id} is not paused" in await refused(engine.unpause(made.id), Conflict)

    async def test_a_program_that_is_not_there_fails_the_start(self, engine: EngineApi, make: Make) -> None:
        made = await make("nope", start=False)
        with pytest.raises(StartError, match="executable file not found") as raised:
            await engine.start(made.id)
        assert type(raised.value) is StartError and raised.value.exit_code == 127
        await refused(engine.restart(made.id), StartError)
        left = await engine.container(made.id)
        assert left.state is State.CREATED and left.exit is not None and left.exit.code == 127

    async def test_a_kill_ends_it_and_a_restart_begins_it(self, engine: EngineApi, make: Make) -> None:
        made = await make()
        await engine.kill(made.id, signal.SIGKILL)
        assert await ended(engine, made) == 137
        await engine.restart(made.id, timeout=0)
        again = await engine.container(made.id)
        assert again.state is State.RUNNING and again.exit is None
        await engine.restart(made.id, timeout=0)
        assert (await engine.container(made.id)).state is State.RUNNING

    async def test_it_is_paused_once(self, engine: EngineApi, make: Make) -> None:
        made = await make()
        await engine.pause(made.id)
        paused = await engine.container(made.id)
        assert paused.state is State.PAUSED
        assert "is already paused" in await refused(engine.pause(made.id), Conflict)
        assert "is paused" in await refused(engine.execs.create(made.id, ExecConfig(argv=("true",))), Conflict)
        assert "it cannot be attached to" in await refused(engine.attach(paused, -1, b"", AttachOptions()), Conflict)
        await engine.unpause(made.id)
        assert (await engine.container(made.id)).state is State.RUNNING

    async def test_what_runs_is_removed_by_force_only(self, engine: EngineApi, make: Make) -> None:
        made = await make(name="one")
        assert 'cannot remove container "/one": container is running' in await refused(engine.remove("one"), Conflict)
        await engine.remove("one", force=True)
        await refused(engine.container(made.id), NotFound)
        other = await make(start=False)
        await engine.remove(other.id)
        await refused(engine.container(other.id), NotFound)

    async def test_an_update_is_all_or_nothing(self, engine: EngineApi, make: Make) -> None:
        made = await make(start=False)

        def change(config: ContainerConfig) -> ContainerConfig:
            return replace(config, resources=replace(config.resources, memory=64 << 20))

        def refuse(_: ContainerConfig) -> ContainerConfig:
            raise UserError("nothing of it")

        updated = await engine.update(made.id, change)
        assert updated.config.resources == Resources(memory=64 << 20)
        await refused(engine.update(made.id, refuse), UserError)
        assert await engine.container(made.id) == updated

    # ---- waiting and streams -----------------------------------------------------------------------------------------

    async def test_an_exit_is_waited_for_and_not_missed(self, engine: EngineApi, make: Make) -> None:
        made = await make(start=False)
        assert await ended(engine, made) == 0, "it never ran"
        await engine.start(made.id)
        async with engine.waiting(made.id, "next-exit") as exit_, engine.waiting(made.id, "removed") as removal:
            await engine.kill(made.id, signal.SIGKILL)
            assert (await asyncio.wait_for(exit_(), PATIENCE)).code == 137
            await engine.remove(made.id)
            assert (await asyncio.wait_for(removal(), PATIENCE)).code == 137

    async def test_a_client_s_socket_is_served_after_it_was_handed_over(self, engine: EngineApi, make: Make) -> None:
        made = await make("cat", start=False, stdin_once=True)
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        with ours:
            with theirs:
                options = AttachOptions(stdin=True, stdout=True, stderr=True, framed=False)
                await engine.attach(made, theirs.fileno(), b"said first, ", options)
            await engine.start(made.id)
            ours.sendall(b"then this")
            ours.shutdown(socket.SHUT_WR)
            said = b""
            while piece := await asyncio.to_thread(ours.recv, 100):
                said += piece
        assert said == b"said first, then this"

    # ---- execs -------------------------------------------------------------------------------------------------------

    async def test_an_exec_runs_once(self, engine: EngineApi, make: Make) -> None:
        made = await make()
        assert (await engine.execs.running(made.id)).id == made.id
        exec_ = await engine.execs.create(made.id, ExecConfig(argv=("true",)))
        assert engine.execs.find(exec_.id).container_id == made.id and exec_.code is None
        await engine.execs.start(exec_.id, None, b"")
        async with asyncio.timeout(PATIENCE):
            while (settled := await engine.execs.settled(exec_.id)).code is None:
                await asyncio.sleep(0.01)
        assert settled.code == 0 and engine.execs.running_in(made.id) == []
        assert "has already been started" in await refused(engine.execs.start(exec_.id, None, b""), Conflict)

    async def test_an_exec_that_is_not_there_or_cannot_be_executed(self, engine: EngineApi, make: Make) -> None:
        for doing in (
            engine.execs.settled("f" * 64),
            engine.execs.start("f" * 64, None, b""),
            engine.execs.resize("f" * 64, 24, 80),
        ):
            assert "No such exec instance" in await refused(doing, NotFound)
        with pytest.raises(NotFound):
            engine.execs.find("f" * 64)
        made = await make()
        exec_ = await engine.execs.create(made.id, ExecConfig(argv=("nope",)))
        with pytest.raises(StartError, match="executable file not found") as raised:
            await engine.execs.start(exec_.id, None, b"")
        assert raised.value.exit_code == 127 and engine.execs.find(exec_.id).code == 127

    # ---- networks ----------------------------------------------------------------------------------------------------

    async def test_networks_come_and_go(self, engine: EngineApi) -> None:
        made = await engine.networks.create("n1", subnet="10.77.0.0/24", labels={"a": "b"})
        assert (made.driver, made.subnet, made.labels) == ("bridge", IPv4Network("10.77.0.0/24"), {"a": "b"})
        for ref in ("n1", made.id, made.id[:12]):
            assert await engine.networks.find(ref) == made
        assert {n.name for n in await engine.networks.all()} >= {"n1", "host", "none", "bridge"}
        assert "already exists" in await refused(engine.networks.create("n1"), Conflict)
        assert (await engine.networks.remove("n1")).id == made.id
        for gone in (engine.networks.find("n1"), engine.networks.remove("n1")):
            assert "n1 not found" in await refused(gone, NotFound)

    async def test_what_no_network_may_be(self, engine: EngineApi) -> None:
        for name in ("host", "none", "bridge"):
            assert "predefined" in await refused(engine.networks.create(name), Forbidden)
            assert "pre-defined" in await refused(engine.networks.remove(name), Forbidden)
        await refused(engine.networks.create("a/b"), UserError)
        await refused(engine.networks.create("n1", subnet="nonsense"), UserError)
        await refused(engine.networks.find("n1"), NotFound)

    async def test_a_container_joins_a_network_once_and_leaves_it_once(self, engine: EngineApi, make: Make) -> None:
        n1, n2 = [await engine.networks.create(name) for name in ("n1", "n2")]
        made = await make(start=False, network_mode="n1", endpoints=(ON_N1,))
        assert "already exists in network n1" in await refused(engine.connect(made.id, n1.id, ON_N1), Forbidden)
        await refused(engine.connect(made.id, "n3", ON_N1), NotFound)
        assert "is not connected to network n2" in await refused(engine.disconnect(made.id, "n2"), Conflict)
        await engine.connect(made.id, "n2", EndpointRequest(network=n2.name, aliases=("two",)))
        joined = (await engine.container(made.id)).config.endpoints
        assert [(r.network, r.aliases) for r in joined] == [("n1", ()), ("n2", ("two",))]
        await engine.disconnect(made.id, "n1")
        assert [r.network for r in (await engine.container(made.id)).config.endpoints] == ["n2"]

    async def test_a_network_that_a_running_container_has_stays(self, engine: EngineApi, make: Make) -> None:
        await engine.networks.create("n1")
        made = await make(network_mode="n1", endpoints=(ON_N1,))
        assert [e.network for e in await engine.endpoints()] == ["n1"]
        assert "has active endpoints" in await refused(engine.networks.remove("n1"), Forbidden)
        await engine.remove(made.id, force=True)
        assert await engine.endpoints() == []
        await engine.networks.remove("n1")

    async def test_a_container_needs_its_network(self, engine: EngineApi, make: Make) -> None:
        await refused(make(start=False, network_mode="n1", endpoints=(ON_N1,)), NotFound)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    async def test_a_hook_that_nobody_has(self, engine: EngineApi) -> None:
        assert await engine.hooks.listed() == [] and await engine.hooks.runs("", 10) == []
        for doing in (
            engine.hooks.runs("absent", 10),
            engine.hooks.switch("absent", on=True),
            engine.hooks.switch("absent", on=False),
            engine.hooks.retry("absent", None),
            engine.hooks.replay("absent", ""),
        ):
            assert "absent" in await refused(doing, NotFound)
        await refused(engine.hooks.test("no.such.event", "", ""), UserError)

    async def test_nothing_is_off_in_a_world_that_nobody_touches(self, engine: EngineApi, make: Make) -> None:
        await make()
        assert await engine.audit() == [] and await engine.audit(repair=True) == []
        assert await engine.lookout.look() == {}
