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
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from hawse.supervisor.api import wire
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import Conflict, Forbidden, NotFound, NotModified, StartError
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
    Network,
    NetworkName,
    Obstacle,
    ProcessIdentity,
    State,
)
from hawse.supervisor.journal.subscriptions import Subscriptions
from hawse.supervisor.journal.tally import Sample, Tally
from hawse.supervisor.lifecycle.execs import Exec, ExecConfig
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.linux.features import Feature
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile.plan import Action
from hawse.supervisor.runtime.client import AttachOptions
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

BUSYBOX = Image(
    id=ImageId("sha256:" + "b" * 64), created_at=time.time_ns(), layers=("sha256:x",), tags=("busybox:latest",)
)


class NoHooks:
    """An engine that has no hooks: none to list, and nobody answers to a name."""

    async def listed(self) -> list[Any]:
        return []

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        return (
            [("", {"hook": "10-a", "outcome": "failed"}, 2)],
            [("_sum", {"hook": "10-a"}, 0.5), ("_count", {"hook": "10-a"}, 2)],
        )

    async def runs(self, hook: str, limit: int) -> list[Any]:
        return []

    async def test(self, event: str, ref: str, only: str) -> list[Any]:
        return []

    async def retry(self, hook: str, seq: int | None) -> int:
        raise NotFound(f"No such hook: {hook}")

    async def replay(self, hook: str, cursor: str) -> None:
        raise NotFound(f"No such hook: {hook}")

    async def switch(self, hook: str, *, on: bool) -> None:
        raise NotFound(f"No such hook: {hook}")


async def _nothing() -> dict[str, tuple[Obstacle, ...]]:
    return {}


class FakeEngine:
    def __init__(self, parts: Parts) -> None:
        self.parts, self.store, self.images = parts, parts.store, parts.images
        self.networks = FakeNetworks(parts.store)
        self.lookout = SimpleNamespace(found={}, look=_nothing)
        self.execs = FakeExecs(self)
        self.health = FakeHealth()
        self.rehearsal = FakeRehearsal()
        self.subscriptions = Subscriptions(parts.store)
        self.tally = Tally()
        self.hooks = NoHooks()
        self.dispatcher = SimpleNamespace(lag=lambda: {"record": 0})
        self.volumes = Volumes(parts)
        self.volumes.make()
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
        container = Container(
            id=ContainerId(f"{self.made:x}".rjust(4, "c").ljust(64, "0")),
            name=name or f"made_{self.made}",
            config=config,
            state=State.CREATED,
            created_at=time.time_ns(),
        )

        def claim(tx: Tx) -> None:
            if tx.container_named(container.name):
                raise Conflict(f'Conflict. The container name "/{name}" is already in use')
            tx.put(container)
            tx.append(events.ContainerCreated(container=container))

        await self.store.transact(claim)
        return container

    async def start(self, ref: str) -> Container:
        container = await self.container(ref)
        if container.state is State.RUNNING:
            raise NotModified("already running")
        if container.config.cmd[:1] == ("nope",):
            raise StartError('exec: "nope": executable file not found in $PATH: unknown', stage="exec", exit_code=127)
        identity = ProcessIdentity(pid=1, start_time=1, boot_id="b")
        started = machine.Started(process=identity, shim=identity, endpoints=(), stages={"total": 1})
        await self._move(container.id, machine.StartRequested())
        return await self._move(container.id, started)

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        container = await self.container(ref)
        if not container.state.is_alive:
            raise NotModified("not running")
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
        await self._move((await self.container(ref)).id, machine.Paused())

    async def unpause(self, ref: str) -> None:
        await self._move((await self.container(ref)).id, machine.Resumed())

    async def rename(self, ref: str, name: str) -> None:
        container = await self.container(ref)

        def rename(tx: Tx) -> None:
            tx.put(replace(container, name=name))
            tx.append(events.ContainerRenamed(container=replace(container, name=name), old_name=container.name))

        await self.store.transact(rename)

    async def audit(self, *, repair: bool = False) -> list[Action]:
        return []

    async def connect(self, ref: str, network_ref: str, request: EndpointRequest) -> None:
        container, network = await self.container(ref), await self.networks.find(network_ref)
        if any(r.network == network.name for r in container.config.endpoints):
            raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
        endpoints = (*container.config.endpoints, replace(request, network=network.name))
        await self.store.transact(
            lambda tx: tx.put(replace(container, config=replace(container.config, endpoints=endpoints)))
        )

    async def disconnect(self, ref: str, network_ref: str) -> None:
        container, network = await self.container(ref), await self.networks.find(network_ref)
        left = tuple(r for r in container.config.endpoints if r.network != network.name)
        if left == container.config.endpoints:
            raise Conflict(f"container {container.id} is not connected to network {network.name}")
        await self.store.transact(
            lambda tx: tx.put(replace(container, config=replace(container.config, endpoints=left)))
        )

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
                raise Conflict(f'cannot remove container "/{container.name}": container is running')
            await self.end(container.id, 137)

        def forget(tx: Tx) -> None:
            tx.delete_container(container.id)
            tx.append(events.ContainerRemoved(container=container))

        await self.store.transact(forget)

    async def end(self, container_id: str, code: int) -> None:
        """The pretended program ends."""
        await self._move(container_id, machine.Exited(exit=Exit(code=code, finished_at=time.time_ns()), endpoints=()))

    @asynccontextmanager
    async def waiting(self, ref: str, condition: str) -> AsyncIterator[Callable[[], Awaitable[Exit]]]:
        before = self.store.journal.head  # an exit while the container is read is not missed
        container = await self.container(ref)
        wanted = "container.removed" if condition == "removed" else "container.exited"
        coming = self.store.journal.follow_seq(before, types=(wanted,), subject=f"container/{container.id}")

        async def wait() -> Exit:
            if condition == "not-running" and not container.state.is_alive:
                return container.exit or Exit(code=0)
            async with aclosing(coming) as found:  # type: ignore[type-var]
                async for event in found:
                    assert isinstance(event.fact, events.ContainerFact)
                    return event.fact.container.exit or Exit(code=0)
            raise AssertionError

        yield wait

    async def attach(self, seen: Container, fd: int, prefix: bytes, options: AttachOptions) -> None:
        self.attached.append((seen.id, prefix, options))
        self._serve(fd, prefix, options.framed)

    async def resize(self, ref: str, rows: int, cols: int) -> None:
        self.sizes.append(((await self.container(ref)).id, rows, cols))

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


class FakeNetworks:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self) -> list[Network]:
        host = Network(id="1" * 64, name=NetworkName("host"), driver="host", created_at=0)
        return [*await self._store.read(lambda tx: tx.networks()), host]

    async def find(self, ref: str) -> Network:
        return await self._store.read(lambda tx: tx.find_network(ref))

    async def create(self, name: str, **given: Any) -> Network:
        subnet = IPv4Network(given["subnet"] or "10.9.0.0/24", strict=False)
        network = Network(
            id=name.encode().hex().ljust(64, "0"),
            name=NetworkName(name),
            driver=given["driver"],
            created_at=time.time_ns(),
            subnet=subnet,
            gateway=IPv4Address(given["gateway"]) if given["gateway"] else next(subnet.hosts()),
            device=name,
            labels=given["labels"],
            internal=given["internal"],
        )

        def claim(tx: Tx) -> None:
            tx.put_network(network)
            tx.append(events.NetworkCreated(network=network))

        await self._store.transact(claim)
        return network

    async def remove(self, ref: str) -> Network:
        if ref == "bridge":
            raise Forbidden("bridge is a pre-defined network and cannot be removed")
        network = await self.find(ref)

        def forget(tx: Tx) -> None:
            tx.delete_network(network.name)
            tx.append(events.NetworkRemoved(network=network))

        await self._store.transact(forget)
        return network


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
        if container.state is not State.RUNNING:
            raise Conflict(f"container {container.id} is not running")
        return container

    async def start(self, exec_id: str, fd: int | None, prefix: bytes) -> Exec:
        found = self.find(exec_id)
        if found.config.argv[0] == "nope":
            found.code = 127
            raise StartError('exec: "nope": executable file not found in $PATH', stage="exec", exit_code=127)
        found.code = 0
        if fd is not None:
            self._engine._serve(fd, prefix, not found.config.tty)
        return found

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        self.sizes.append((self.find(exec_id).id, rows, cols))
