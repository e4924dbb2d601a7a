"""An engine without a kernel, for tests of the API: the real store and state machine, pretended processes.

It keeps the engine's promises that the API relies on: docker's wording of refusals, events in the journal, an exit that
`waiting` cannot miss, sockets that are answered after they were handed over.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from msgspec.structs import replace

from hawse.handlers import connect, disconnect
from hawse.supervisor.api import wire
from hawse.supervisor.core import events, machine, names
from hawse.supervisor.core.errors import Conflict, NotFound, NotModified, StartError
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.health import History
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Exit,
    Image,
    ImageId,
    ProcessIdentity,
    State,
)
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.hooks.hooks import Hooks
from hawse.supervisor.journal.subscriptions import Subscriptions
from hawse.supervisor.journal.tally import Sample, Tally
from hawse.supervisor.lifecycle import cabling, creating
from hawse.supervisor.lifecycle.execs import Exec, ExecConfig
from hawse.supervisor.lifecycle.networks import Networks
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.linux.features import Feature
from hawse.supervisor.parts import Context, Parts, Verbs
from hawse.supervisor.reconcile.lookout import Lookout
from hawse.supervisor.reconcile.plan import Action
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.store.tx import Tx

BUSYBOX = Image(
    id=ImageId("sha256:" + "b" * 64), created_at=time.time_ns(), layers=("sha256:x",), tags=("busybox:latest",)
)


NOT_FOUND = 'exec: "nope": executable file not found in $PATH: unknown'


class FakeHooks(Hooks):
    """None; but one has run."""

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        return (
            [("", {"hook": "10-a", "outcome": "failed"}, 2)],
            [("_sum", {"hook": "10-a"}, 0.5), ("_count", {"hook": "10-a"}, 2)],
        )


class Plugged:
    """As much of a shim as a cable needs."""

    pid, netlink = 1, object()


class FakeEngine:
    def __init__(self, parts: Parts) -> None:
        self.parts, self.store, self.images = parts, parts.store, parts.images
        self.context = Context(parts=parts, engine=cast(Verbs, self))
        self.networks = Networks(parts)
        self.volumes = Volumes(parts)
        self.volumes.make()
        self.subscriptions = Subscriptions(parts.store)
        self.tally = Tally()
        self.dispatcher = Dispatcher(parts.store, (connect.HANDLER,), self.context)
        self.hooks = FakeHooks(parts, self.dispatcher)
        self.lookout = Lookout(parts)
        self.execs = FakeExecs(self)
        self.health = FakeHealth()
        self.rehearsal = FakeRehearsal()
        self.attached: list[tuple[str, bytes, AttachOptions]] = []
        self.sizes: list[tuple[str, int, int]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.made = 0

    async def container(self, ref: str) -> Container:
        return await self.store.read(lambda tx: tx.find(ref))

    async def containers(self) -> list[Container]:
        return await self.store.read(lambda tx: tx.containers())

    async def endpoints(self, container_id: ContainerId | None = None) -> list[Endpoint]:
        return await self.store.read(lambda tx: tx.endpoints(container_id))

    async def create(self, config: ContainerConfig, name: str = "") -> Container:
        self.made += 1
        name = names.check_container_name(name) if name else f"made_{self.made}"
        config, plugged = await creating._resolve_networks(self.parts, self.networks, config)
        container = Container(
            id=ContainerId(f"{self.made:x}".rjust(4, "c").ljust(64, "0")),
            name=name,
            config=config,
            state=State.CREATED,
            created_at=time.time_ns(),
        )

        def claim(tx: Tx) -> None:
            creating._claim_name(self.parts.random, tx, name)
            tx.put(container)
            for request in config.endpoints:
                creating.lease(tx, container.id, request, plugged[request.network])
            tx.append(events.ContainerCreated(container=container))

        await self.store.transact(claim)
        return container

    async def start(self, ref: str) -> Container:
        container = await self.container(ref)
        if container.state in (State.RUNNING, State.PAUSED):
            raise NotModified(f"container {container.name} is already running")
        await self._move(container.id, machine.StartRequested())
        if container.config.cmd[:1] == ("nope",):
            error = StartError(NOT_FOUND, stage="exec", exit_code=127)
            await self._move(container.id, machine.StartFailed(stage="exec", error=str(error), exit_code=127))
            raise error
        self.parts.live.shims[container.id] = cast(Shim, Plugged())
        await self.dispatcher.gate(events.PreConnect(container=container, pid=Plugged.pid))
        identity = ProcessIdentity(pid=1, start_time=1, boot_id="b")
        started = machine.Started(process=identity, shim=identity, endpoints=(), stages={"total": 1})
        return await self._move(container.id, started)

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        container = await self.container(ref)
        if not container.state.is_alive:
            raise NotModified(f"container {container.name} is not running")
        await self.end(container.id, 143)

    async def kill(self, ref: str, signal: int) -> None:
        container = await self.container(ref)
        if not container.state.is_alive:
            raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
        await self.store.transact(lambda tx: tx.append(events.ContainerKilled(container=container, signal=signal)))
        await self.end(container.id, 128 + signal)

    def shut_down(self, *, stop_all: bool) -> None:
        self.told_to_end = True

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        if (await self.container(ref)).state.is_alive:
            await self.stop(ref)
        await self.start(ref)

    async def pause(self, ref: str) -> None:
        container = await self.container(ref)
        if container.state is State.PAUSED:
            raise Conflict(f"container {container.id} is already paused")
        await self._running(ref)
        await self._move(container.id, machine.Paused())

    async def unpause(self, ref: str) -> None:
        container = await self.container(ref)
        if container.state is not State.PAUSED:
            raise Conflict(f"container {container.id} is not paused")
        await self._move(container.id, machine.Resumed())

    async def rename(self, ref: str, name: str) -> None:
        name = names.check_container_name(name)
        container = await self.container(ref)

        def rename(tx: Tx) -> None:
            creating._claim_name(self.parts.random, tx, name)
            tx.put(replace(container, name=name))
            tx.append(events.ContainerRenamed(container=replace(container, name=name), old_name=container.name))

        await self.store.transact(rename)

    async def audit(self, *, repair: bool = False) -> list[Action]:
        return []

    async def connect(self, ref: str, network_ref: str, request: EndpointRequest) -> None:
        network, container = await self.networks.find(network_ref), await self.container(ref)
        await cabling.connect(self.parts, self.dispatcher, container, network, request)

    async def disconnect(self, ref: str, network_ref: str) -> None:
        network, container = await self.networks.find(network_ref), await self.container(ref)
        left = tuple(r for r in container.config.endpoints if r.network != network.name)
        if left == container.config.endpoints:
            raise Conflict(f"container {container.id} is not connected to network {network.name}")
        alone = replace(container, config=replace(container.config, endpoints=left))

        def leave(tx: Tx) -> Event:
            tx.put(alone)
            tx.release_leases(container.id, network.name)
            return tx.append(events.NetworkLeft(container=alone, endpoints=(), network=network.name))

        await disconnect.handle(await self.store.transact(leave), self.context)

    async def commit(self, ref: str, *, pause: bool = True, **given: Any) -> Image:
        container = await self.container(ref)
        return await self.images.commit(container, self.parts.places.of(container.id), **given)

    async def update(self, ref: str, change: Callable[[ContainerConfig], ContainerConfig]) -> Container:
        container = await self.container(ref)
        updated = replace(container, config=change(container.config))
        await self.store.transact(lambda tx: tx.put(updated))
        return updated

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        container = await self.container(ref)
        if container.state.is_alive:
            if not force:
                raise Conflict(f'cannot remove container "/{container.name}": container is {container.state}')
            await self.end(container.id, 137)

        def forget(tx: Tx) -> None:
            tx.delete_container(container.id)
            tx.append(events.ContainerRemoved(container=container))

        await self.store.transact(forget)

    async def end(self, container_id: str, code: int) -> None:
        """The pretended program ends."""
        await self._move(container_id, machine.Exited(exit=Exit(code=code, finished_at=time.time_ns()), endpoints=()))
        del self.parts.live.shims[ContainerId(container_id)]
        (exited,) = await self.store.read(
            lambda tx: tx.last_events(f"container/{container_id}", "container.exited", limit=1)
        )
        await disconnect.handle(exited, self.context)

    @asynccontextmanager
    async def waiting(self, ref: str, condition: str) -> AsyncIterator[Callable[[], Awaitable[Exit]]]:
        before = self.store.journal.head  # an exit while the container is read is not missed
        container = await self.container(ref)
        wanted = "container.removed" if condition == "removed" else "container.exited"
        coming = self.store.journal.follow_seq(before, types=(wanted,), subject=f"container/{container.id}")

        async def wait() -> Exit:
            if condition == "not-running" and not container.state.is_alive:
                return container.exit or Exit(code=0)
            async with aclosing(coming) as found:
                async for event in found:
                    assert isinstance(event.fact, events.ContainerFact)
                    return event.fact.container.exit or Exit(code=0)
            raise AssertionError

        yield wait

    async def attach(self, seen: Container, fd: int, prefix: bytes, options: AttachOptions) -> None:
        container = await self.container(seen.id)
        if container.state in (State.PAUSED, State.REMOVING, State.DEAD):
            raise Conflict(f"container {container.name} is {container.state}, it cannot be attached to")
        self.attached.append((seen.id, prefix, options))
        self._serve(fd, prefix, options.framed)

    async def resize(self, ref: str, rows: int, cols: int) -> None:
        self.sizes.append(((await self._running(ref)).id, rows, cols))

    async def _running(self, ref: str) -> Container:
        container = await self.container(ref)
        if container.state is not State.RUNNING:
            raise Conflict(f"container {container.id} is not running")
        return container

    def _serve(self, fd: int, prefix: bytes, framed: bool) -> None:
        """Say everything back on stdout, and hang up at the end of the input: `cat`."""
        sock = socket.socket(fileno=os.dup(fd))
        task = asyncio.create_task(_cat(sock, prefix, framed))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _move(self, container_id: str, stimulus: machine.Stimulus) -> Container:
        container = await self.container(container_id)
        return await self.store.transact(lambda tx: move(tx, container, stimulus, time.time_ns()))


async def _cat(sock: socket.socket, prefix: bytes, framed: bool) -> None:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    with sock:
        data = prefix
        while True:
            if data:
                await loop.sock_sendall(sock, wire.frame(wire.STDOUT, data) if framed else data)
            data = await loop.sock_recv(sock, 65536)
            if not data:
                return


class FakeRehearsal:
    """On a machine without AppArmor's profile."""

    async def features(self) -> list[Feature]:
        return await self.run()

    async def run(self) -> list[Feature]:
        cgroup = Feature(name="cgroup", found=True, costs="no container can start", needed=True)
        return [cgroup, Feature(name="AppArmor", found=False, costs="unconfined", remedy="load it")]


class FakeHealth:
    def history(self, container_id: str) -> History:
        return History()


class FakeExecs:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._execs: dict[str, Exec] = {}
        self.sizes: list[tuple[str, int, int]] = []

    async def create(self, ref: str, config: ExecConfig) -> Exec:
        container = await self.running(ref)
        fresh = Exec(id=f"{len(self._execs):064x}", container_id=container.id, config=config)
        self._execs[fresh.id] = fresh
        return fresh

    def find(self, exec_id: str) -> Exec:
        if exec_id not in self._execs:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self._execs[exec_id]

    async def settled(self, exec_id: str) -> Exec:
        return self.find(exec_id)

    def running_in(self, container_id: str) -> list[str]:
        return [e.id for e in self._execs.values() if e.container_id == container_id and e.running]

    async def running(self, ref: str) -> Container:
        container = await self._engine.container(ref)
        if container.state is State.PAUSED:
            raise Conflict(f"container {container.name} is paused, unpause the container before exec")
        return await self._engine._running(ref)

    async def start(self, exec_id: str, fd: int | None, prefix: bytes, *, framed: bool = False) -> Exec:
        found = self.find(exec_id)
        if found.code is not None:
            raise Conflict(f"exec {exec_id} has already been started")
        if found.config.argv[0] == "nope":
            found.code = 127
            raise StartError(NOT_FOUND, stage="exec", exit_code=127)
        found.code = 0
        if fd is not None:
            self._engine._serve(fd, prefix, framed)
        return found

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        self.sizes.append((self.find(exec_id).id, rows, cols))
