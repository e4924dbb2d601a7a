"""The daemon's end of the spawner: starts it, asks it for shims, notices its death.

The spawner is exec'd once, before the daemon has threads or much memory, and is the only process that forks.  It dies
with the daemon (its socket ends); shims do not die with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from hawse.supervisor.core.errors import HawseError, StartError, Unavailable
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.linux import process
from hawse.supervisor.runtime import boot
from hawse.supervisor.runtime.channel import Channel, Descriptors, Message, failure
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.exitrecord import forget_exit_record
from hawse.supervisor.shim.specs import ShimSpec, dump_spec

SPAWN_TIMEOUT = 30.0


class Spawner:
    """One running spawner.  Made by `start`; a dead one is not revived but replaced."""

    def __init__(self, sock: socket.socket, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._dead = asyncio.Event()
        self._spawning: dict[str, asyncio.Future[tuple[int, int]]] = {}
        self._channel = Channel(sock, "the spawner", self._on_event, self._on_lost)

    @classmethod
    async def start(cls, scratch: Path, shims: str = "") -> Self:
        """Exec the spawner.  It is not waited for: it gets ready beside the daemon.  Raises Unavailable.

        `scratch` is a directory of its own; what a spawner that was killed left there is removed.  `shims`: the
        cgroup that shims are forked into, "" for none of their own.
        """
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            popen = subprocess.Popen(  # noqa: ASYNC220  once, before anything is served; a vfork and exec
                boot.command_line(theirs.fileno(), scratch, shims),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError as e:
            ours.close()
            raise Unavailable(f"the spawner cannot be started: {e}") from e
        finally:
            theirs.close()
        return cls(ours, popen)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._channel.is_open

    async def wait_dead(self) -> None:
        """Returns when the spawner is gone.  Containers run on; new ones need a new spawner."""
        await self._dead.wait()

    async def launch(self, spec: ShimSpec) -> Shim:
        """Write the spec, have a shim forked and wait for its namespaces.  Raises StartError, and then nothing is left."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = Path(spec.run_dir) / "spec.json"
        with theirs:
            try:
                forget_exit_record(Path(spec.state_dir))
                path.write_text(dump_spec(spec))
                shim_pid, shim_pidfd = await self._spawn(spec.id, path, theirs)
            except BaseException as e:
                ours.close()
                if isinstance(e, OSError | HawseError):
                    raise StartError(f"cannot make a shim: {e}", stage="namespaces") from e
                raise
        try:
            identity = process.identity(shim_pid)  # the pidfd pins the pid meanwhile
        finally:
            os.close(shim_pidfd)
        if identity is None:
            ours.close()
            raise StartError("the shim died at once", stage="namespaces")
        shim = Shim(ours, ContainerId(spec.id), Path(spec.state_dir), identity)
        try:
            await shim.wait_namespaces()
        except BaseException:
            try:
                await asyncio.shield(shim.abort())
            finally:
                shim.close()
            raise
        return shim

    def close(self) -> None:
        """End the spawner and reap it.  Safe to call twice."""
        self._channel.close()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
            self._popen.wait()

    async def _spawn(self, container_id: str, spec_path: Path, control: socket.socket) -> tuple[int, int]:
        """The shim's pid and pidfd."""
        spawned: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._spawning[container_id] = spawned
        message = {"op": "spawn", "id": container_id, "spec_path": str(spec_path)}
        try:
            async with asyncio.timeout(SPAWN_TIMEOUT):
                await self._channel.post(message, (control.fileno(),))
                return await spawned
        except TimeoutError as e:
            raise Unavailable(f"the spawner does not answer within {SPAWN_TIMEOUT:g} s") from e
        except asyncio.CancelledError:
            if spawned.done() and not spawned.cancelled() and spawned.exception() is None:
                os.close(spawned.result()[1])
            raise
        finally:
            del self._spawning[container_id]

    def _on_event(self, message: Message, received: Descriptors) -> None:
        spawned = self._spawning.get(message.get("id", ""))
        if spawned is None or spawned.done():
            return
        if message.get("ev") == "spawned" and (pidfd := received.take()) is not None:
            spawned.set_result((message["shim_pid"], pidfd))
        else:
            spawned.set_exception(failure("spawn", message))

    def _on_lost(self) -> None:
        for spawned in self._spawning.values():
            if not spawned.done():
                spawned.set_exception(Unavailable("the spawner is gone"))
        self._dead.set()
