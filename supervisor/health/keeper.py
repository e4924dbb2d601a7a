"""The keeper of health: runs the checks of running containers, and writes down what changes.

One task per running container that has a check.  The program is run by the container's shim as an `exec` is, with its
output on a socket of ours; one that takes too long is killed.  The verdict is in the container's record, with the event
`container.health` when it changes; the last results are in memory and in a file of the run directory, so that a restarted
daemon goes on counting.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import closing
from typing import assert_never

import anyio
import anyio.abc
import msgspec
import structlog
from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import HawseError, NotFound
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.health import History, Result
from hawse.supervisor.core.model import Container, ContainerId, State, decoder, encode
from hawse.supervisor.health import rules
from hawse.supervisor.lifecycle.execs import ExecConfig, process
from hawse.supervisor.linux.process import pin
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.store.tx import Tx

DRAINED = 1.0  # seconds that output may still come after the end: a child of the check may hold it open

log = structlog.get_logger()


class HealthKeeper:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._scopes: dict[ContainerId, anyio.CancelScope] = {}
        self._histories: dict[ContainerId, History] = {}
        self._wanted, self._to_watch = anyio.create_memory_object_stream[ContainerId](float("inf"))

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; `started` is reported when no start can be missed any more."""
        async with anyio.create_task_group() as group:
            with self._parts.store.journal.subscribe(self._told), self._wanted, self._to_watch:
                for container in await self._parts.store.read(lambda tx: tx.containers()):
                    if container.state.is_running and container.config.healthcheck.is_enabled:
                        self._histories[container.id] = self._stored(container.id)
                        self._wanted.send_nowait(container.id)
                task_status.started()
                async for container_id in self._to_watch:
                    if container_id not in self._scopes:
                        self._scopes[container_id] = scope = anyio.CancelScope()
                        group.start_soon(self._watch, container_id, scope)

    def history(self, container_id: ContainerId) -> History:
        """The newest results of its current or last run."""
        return self._histories.get(container_id, History())

    def _told(self, event: Event) -> None:
        match event.fact:
            case events.ContainerStarted(container=container):
                self._histories.pop(container.id, None)
                if container.config.healthcheck.is_enabled:
                    self._wanted.send_nowait(container.id)
            case events.ContainerExited(container=container):
                if scope := self._scopes.pop(container.id, None):
                    scope.cancel()
            case events.ContainerRemoved(container=container):
                self._histories.pop(container.id, None)
            case (
                events.ContainerCreated()
                | events.ContainerOom()
                | events.ContainerPaused()
                | events.ContainerResumed()
                | events.ContainerRestarting()
                | events.ContainerKilled()
                | events.ContainerHealthChanged()
                | events.ContainerRenamed()
                | events.ContainerUpdated()
                | events.ContainerStartFailed()
                | events.ContainerCommitted()
                | events.ContainerQuarantined()
                | events.ExecStarted()
                | events.ExecEnded()
                | events.NetworkFact()
                | events.NetworkConnected()
                | events.NetworkLeft()
                | events.NetworkPublished()
                | events.NetworkPortTaken()
                | events.NetworkDisconnected()
                | events.NetworkRepaired()
                | events.ImageFact()
                | events.VolumeFact()
                | events.HookFact()
                | events.DaemonStarted()
                | events.DaemonRecovered()
            ):
                pass  # begins and ends no run
            case fact:
                assert_never(fact)

    async def _watch(self, container_id: ContainerId, scope: anyio.CancelScope) -> None:
        with scope:
            while (container := await self._record(container_id)) is not None:
                await anyio.sleep(rules.pause(container, self._parts.clock()) / 1e9)
                container = await self._record(container_id)
                shim = self._parts.live.shims.get(container_id)
                if container is not None and container.state is State.RUNNING and shim is not None:
                    await self._settle(container, await self._probe(container, shim))

    async def _record(self, container_id: ContainerId) -> Container | None:
        return await self._parts.store.read(lambda tx: tx.container(container_id))

    # One probe.

    async def _probe(self, container: Container, shim: Shim) -> Result:
        clock = self._parts.clock
        begun = clock()
        timeout = (container.config.healthcheck.timeout or rules.TIMEOUT) / 1e9
        try:
            code, output = await self._run(container, shim, timeout)
        except TimeoutError:
            code, output = -1, f"Health check exceeded timeout ({timeout:g}s)".encode()
        except (HawseError, OSError) as e:
            code, output = -1, str(e).encode()
        text = output.decode(errors="replace")
        return Result(started_at=begun, ended_at=clock(), code=code, output=text)

    async def _run(self, container: Container, shim: Shim, timeout: float) -> tuple[int, bytes]:
        """Exit code and output.  Raises StartError when it cannot be executed, TimeoutError after it was killed."""
        parts = self._parts
        exec_id = f"{parts.random.getrandbits(256):064x}"
        config = ExecConfig(argv=rules.argv(container.config.healthcheck))
        spec = process(container, config, parts.places.seccomp_filter(container.config))
        ours, theirs = socket.socketpair()
        with closing(ours):
            ours.setblocking(False)
            with closing(theirs):
                pid = await shim.exec(exec_id, spec, AttachOptions(), theirs.fileno())
            pidfd = pin(pid)  # None: ended and reaped already
            try:
                async with asyncio.timeout(timeout):
                    output = await _read(ours)
                    return await shim.exec_exit(exec_id), output
            except BaseException:
                if pidfd is not None:
                    _kill(pidfd)
                with anyio.CancelScope(shield=True), anyio.move_on_after(DRAINED):
                    await _forget(shim, exec_id)
                raise
            finally:
                if pidfd is not None:
                    os.close(pidfd)

    # What it means.

    async def _settle(self, probed: Container, result: Result) -> None:
        container_id = probed.id
        parts, history = self._parts, self.history(container_id)

        def settle(tx: Tx) -> History | None:
            container = tx.container(container_id)
            if container is None or container.state is not State.RUNNING or container.started_at != probed.started_at:
                return None  # it ended meanwhile
            verdict, grown = rules.judge(container, history, result)
            if verdict != container.health:
                changed = replace(container, health=verdict)
                tx.put(changed)
                tx.append(events.ContainerHealthChanged(container=changed, status=verdict, output=result.output))
            return grown

        async with parts.live.locks.hold(container_id):  # others put back the record that they read under it
            grown = await parts.store.transact(settle)
        if grown is not None:
            self._histories[container_id] = grown
            self._store(container_id, grown)

    def _store(self, container_id: ContainerId, history: History) -> None:
        run = self._parts.places.of(container_id).run
        if run.exists():
            fresh = run / "health.json.new"
            fresh.write_bytes(encode(history))
            fresh.rename(run / "health.json")

    def _stored(self, container_id: ContainerId) -> History:
        try:
            return _HISTORY.decode((self._parts.places.of(container_id).run / "health.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return History()


async def _read(sock: socket.socket) -> bytes:
    """Everything until the end; what is beyond the limit is read and dropped, so that the program is never held up."""
    kept = b""
    while True:
        await anyio.wait_readable(sock)  # gives way to others each time, also when the program writes without end
        try:
            chunk = sock.recv(65_536)
        except BlockingIOError:
            continue
        if not chunk:
            return kept
        kept = (kept + chunk)[: rules.MOST_OUTPUT]


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def _forget(shim: Shim, exec_id: str) -> None:
    """Take the exit code that nobody wants any more, or it would be kept."""
    try:
        await shim.exec_exit(exec_id)
    except (HawseError, NotFound):
        pass


_HISTORY = decoder(History)
