"""A running container as the daemon sees it: its shim at the other end of a control connection.

Every wait has a deadline except the wait for the program's end.  A `Shim` owns its descriptors (connection, pidfd of
init, netlink socket) until `close`; closing it stops nothing, the container lives on and `reconnect` finds it again.
How a shim comes to be is launcher.py's.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from hawse.supervisor.core.errors import Bug, HawseError, NotFound, StartError, Unavailable
from hawse.supervisor.core.model import ContainerId, ProcessIdentity
from hawse.supervisor.linux import process
from hawse.supervisor.runtime.channel import ANSWER_TIMEOUT, Channel, Message, failure
from hawse.supervisor.runtime.exitrecord import ExitInfo, read_exit_record
from hawse.supervisor.runtime.reports import ForeignShim, Reports
from hawse.supervisor.shim.specs import ProcessSpec
from hawse.supervisor.shim.terminal import DEFAULT_DETACH_KEYS

NAMESPACES_TIMEOUT = 30.0
READY_TIMEOUT = 60.0
EXEC_TIMEOUT = 60.0
REPORT_GRACE = 30.0
"""Seconds between the death of init (its pidfd says so) and the shim's report; it drains the output in between."""
REPORT_PAUSE = 2.0  # seconds of silence after which a shim is asked whether it lives
HANG_TIMEOUT = 5.0  # seconds that it has for an answer; then it is killed
RECONNECT_TIMEOUT = 10.0  # seconds that the shim of an earlier daemon has for an answer
ACCOUNT_TIMEOUT = 1.0  # seconds until somebody has waited for the orphan that a dead shim leaves
INLINE_PREFIX = 32 * 1024  # bytes of client input that go into the message itself; base64 and the rest must fit too

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOptions:
    """How a client's connection is joined to a program.  `framed`: docker's multiplexed frames; `logs`: replay the log."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    framed: bool = False
    logs: bool = False
    detach_keys: str = DEFAULT_DETACH_KEYS


class Shim:
    """The daemon's end of the connection to one shim.  Made by Spawner.launch or Shim.reconnect."""

    def __init__(
        self, sock: socket.socket, container_id: ContainerId, state_dir: Path, shim_identity: ProcessIdentity
    ) -> None:
        self.id = container_id
        self.state_dir = state_dir
        self.shim_identity = shim_identity
        self.has_ended = False  # set by who waits for its exit, before anybody is told of it
        self._closed = False
        self._told = Reports(f"the shim of {container_id[:12]}")
        self._channel = Channel(sock, self._told.peer, self._told.take, lambda: self._told.lose(let_go=self._closed))

    @classmethod
    async def reconnect(cls, socket_path: Path, container_id: ContainerId, state_dir: Path) -> Self:
        """Find the shim of a container that an earlier daemon started.

        Raises Unavailable when there is none (any more); one that gives no answer is killed, for nobody else can keep its
        container.
        """
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await loop.sock_connect(sock, str(socket_path))
            # Of a listener, the peer's credentials are those of the process that called listen(2): the shim.
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except (OSError, TimeoutError) as e:
            sock.close()
            raise Unavailable(f"the shim of {container_id[:12]} cannot be reached: {e}") from e
        identity = process.identity(int.from_bytes(credentials[:4], sys.byteorder))
        if identity is None:
            sock.close()
            raise Unavailable(f"the shim of {container_id[:12]} is gone")
        shim = cls(sock, container_id, state_dir, identity)
        try:
            await shim._wait(shim._told.hello, RECONNECT_TIMEOUT, "hello")
            shim._told.take_state(await shim.state(RECONNECT_TIMEOUT))
        except ForeignShim:
            shim.close()
            raise
        except Unavailable:
            if not await shim._is_shim_dead(1):
                shim._signal_shim(signal.SIGKILL)
                await shim._is_shim_dead(HANG_TIMEOUT)
            shim.close()
            raise
        except BaseException:
            shim.close()
            raise
        return shim

    @property
    def identity(self) -> ProcessIdentity:
        """Init, the container's first process; known once the namespaces exist."""
        if self._told.identity is None:
            raise Bug(f"container {self.id[:12]} has no first process yet")
        return self._told.identity

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def pidfd(self) -> int:
        """Return the pidfd of init; -1 when it was gone before this connection."""
        return self._told.pidfd

    @property
    def netlink(self) -> socket.socket | None:
        """A NETLINK_ROUTE socket of the container's own network namespace, until its end."""
        return self._told.netlink

    @property
    def is_connected(self) -> bool:
        return self._channel.is_open

    async def wait_namespaces(self, timeout: float = NAMESPACES_TIMEOUT) -> None:
        """Wait until `identity`, `pidfd` and `netlink` are set.  Raises StartError."""
        await self._start_stage(self._told.namespaces, timeout, "namespaces")

    async def wait_ready(self, timeout: float = READY_TIMEOUT) -> dict[str, int]:
        """Wait until init is set up and waits at the gate; its stage times in microseconds.  Raises StartError."""
        return await self._start_stage(self._told.ready, timeout, "mounts")

    async def open_gate(self, timeout: float = EXEC_TIMEOUT) -> dict[str, int]:
        """Let init exec the user's program, and wait until it has; all stage times.  Raises StartError."""
        try:
            self._told.go_rid = await self._channel.post({"op": "go"})
        except Unavailable as e:
            raise StartError(str(e), stage="gate") from e
        return await self._start_stage(self._told.started, timeout, "exec")

    async def wait_exit(self) -> ExitInfo:
        """Wait for how the program ended.  Several may wait; it stays known.

        The shim's report counts.  Without one, because the shim died or hangs, its record on disk does, else `code` is
        None.  Raises Unavailable when this object was closed, or the connection broke though the shim lives: reconnect.
        """
        dead = asyncio.ensure_future(self.wait_init_dead(None))
        lost = asyncio.ensure_future(self._told.lost.wait())
        try:
            first: set[asyncio.Future[Any]] = {self._told.exited, lost}
            await asyncio.wait({*first, dead}, return_when=asyncio.FIRST_COMPLETED)
            await self._await_report(first)
        finally:
            dead.cancel()
            lost.cancel()
        if self._told.exited.done():
            return self._told.exited.result()
        if self._closed:
            raise Unavailable(f"{self._channel.peer} was let go of")
        if self._told.lost.is_set() and not await self._is_shim_dead(ANSWER_TIMEOUT):
            raise Unavailable(f"the connection to {self._channel.peer} broke")
        if self.pidfd >= 0:
            # A setuid program loses its parent-death signal (prctl(2)); without its shim it must not live on.
            self.kill(signal.SIGKILL)
            await self.wait_init_dead(REPORT_GRACE)
        return read_exit_record(self.state_dir) or await self._kernels_account()

    async def _await_report(self, first: set[asyncio.Future[Any]]) -> None:
        """Init is dead: until the shim has reported, was lost, or has shown that it hangs; then it is killed."""
        for _ in range(int(REPORT_GRACE / REPORT_PAUSE)):
            done, _ = await asyncio.wait(first, timeout=REPORT_PAUSE, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            try:
                await self.state(HANG_TIMEOUT)
            except HawseError:
                break
        if not self._told.exited.done():
            self._signal_shim(signal.SIGKILL)
            await self._is_shim_dead(HANG_TIMEOUT)

    async def _kernels_account(self) -> ExitInfo:
        """The shim is gone without a record.  Newer kernels remember how init ended, for whoever has its pidfd."""
        status = None
        try:
            async with asyncio.timeout(ACCOUNT_TIMEOUT):
                while self.pidfd >= 0 and (status := process.exit_status(self.pidfd)) is None:
                    await asyncio.sleep(0.01)  # its new parent waits for it when it pleases
        except TimeoutError:
            pass
        if status is None:
            return ExitInfo(code=None, reason="its shim left no exit record")
        code = os.waitstatus_to_exitcode(status)
        return ExitInfo(
            code=code if code >= 0 else 128 - code,
            signal=-code if code < 0 else None,
            reason="its shim left no exit record; the kernel has told how it ended",
        )

    async def wait_init_dead(self, timeout: float | None) -> bool:
        """Tell whether the first process is dead (its pidfd says so) at the latest after `timeout` seconds."""
        return self.pidfd < 0 or await process.wait_pidfd(self.pidfd, timeout)

    async def attach(self, client_fd: int, prefix: bytes, options: AttachOptions) -> None:
        """Hand a client's connection to the shim; the caller closes its own copy of `client_fd`.

        `prefix`: what the client had already sent.  Raises Unavailable, KernelError.
        """
        with _carried(prefix) as (inline, carrier):
            message = {"op": "attach", **_attach(options, inline)}
            _, received = await self._channel.request(message, (client_fd, *carrier))
        received.close()

    async def exec(
        self,
        exec_id: str,
        spec: ProcessSpec,
        attach: AttachOptions | None = None,
        client_fd: int | None = None,
        prefix: bytes = b"",
    ) -> int:
        """Run another program inside; its pid.  `exec_exit` then gives its exit code.

        Raises StartError when it cannot be executed, with docker's exit code.
        """
        self._told.expect_exec(exec_id)
        try:
            with _carried(prefix) as (inline, carrier):
                message = {
                    "op": "exec",
                    "exec_id": exec_id,
                    "process": asdict(spec),
                    "attach": None if attach is None else _attach(attach, inline),
                }
                fds = () if client_fd is None else (client_fd, *carrier)
                answer, received = await self._channel.request(message, fds, EXEC_TIMEOUT)
            received.close()
            if answer["ev"] != "exec_started":
                raise StartError(
                    answer.get("message") or failure("exec", answer).message,
                    stage="exec",
                    exit_code=answer.get("exit_code", 126),
                )
        except BaseException:
            del self._told.execs[exec_id]
            raise
        return int(answer["pid"])

    async def exec_exit(self, exec_id: str) -> int:
        """The exit code of an exec, told once; 137 when its container ended under it.

        Raises NotFound for an unknown one, Unavailable when this object was closed before.
        """
        future = self._told.execs.get(exec_id)
        if future is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        code = await asyncio.shield(future)
        self._told.execs.pop(exec_id, None)
        return code

    async def resize(self, rows: int, cols: int, exec_id: str | None = None) -> None:
        _, received = await self._channel.request({"op": "resize", "exec_id": exec_id, "rows": rows, "cols": cols})
        received.close()

    async def netlink_socket(self) -> socket.socket:
        """A NETLINK_ROUTE socket of the container's network namespace, the caller's to close, and soon: it pins it."""
        _, received = await self._channel.request({"op": "netns"})
        fd = received.take()
        received.close()
        if fd is None:
            raise Unavailable(f"container {self.id[:12]} has no network namespace of its own")
        return socket.socket(fileno=fd)

    async def state(self, timeout: float = ANSWER_TIMEOUT) -> Message:
        """The shim's own account: phase, pid, start_time, exit, execs, stages."""
        answer, received = await self._channel.request({"op": "state"}, timeout=timeout)
        received.close()
        return answer

    async def release(self, timeout: float = ANSWER_TIMEOUT) -> None:
        """The exit is recorded: let the shim go, and make sure that it does.  Its being gone already is fine."""
        await self._dismiss("release", timeout)

    async def abort(self, timeout: float = ANSWER_TIMEOUT) -> None:
        """Undo a start, at any point of it: afterwards neither init nor the shim lives."""
        await self._dismiss("abort", timeout)
        if not await self.wait_init_dead(timeout):
            raise Unavailable(f"container {self.id[:12]}: init does not die")

    def kill(self, number: int) -> bool:
        """Signal init.  False when it is gone already."""
        if self.pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def close_netlink(self) -> None:
        """Unpin the network namespace."""
        self._told.close_netlink()

    def close(self) -> None:
        """Let go of every descriptor.  Safe to call twice; the container does not notice."""
        self._closed = True
        self._channel.close()
        self._told.close()

    async def _dismiss(self, op: str, timeout: float) -> None:
        try:
            await self._channel.post({"op": op})
        except Unavailable:
            pass
        if not await self._is_shim_dead(timeout):
            self._signal_shim(signal.SIGKILL)
            await self._is_shim_dead(timeout)

    async def _is_shim_dead(self, timeout: float) -> bool:
        pidfd = process.open_pidfd(self.shim_identity)
        if pidfd is None:
            return True
        try:
            return await process.wait_pidfd(pidfd, timeout)
        finally:
            os.close(pidfd)

    def _signal_shim(self, number: int) -> None:
        pidfd = process.open_pidfd(self.shim_identity)
        if pidfd is not None:
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)

    async def _start_stage(self, future: asyncio.Future[T], timeout: float, stage: str) -> T:
        try:
            return await self._wait(future, timeout, stage)
        except StartError:
            raise
        except HawseError as e:
            raise StartError(str(e), stage=stage) from e

    async def _wait(self, future: asyncio.Future[T], timeout: float, what: str) -> T:
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(future)
        except TimeoutError as e:
            raise Unavailable(f"{self._channel.peer} is stuck: no {what} after {timeout:g} s") from e


def _attach(options: AttachOptions, prefix: bytes) -> Message:
    return {**asdict(options), "prefix": base64.b64encode(prefix).decode()}


@contextmanager
def _carried(prefix: bytes) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """A prefix that is too long for a message travels in a file of its own, behind the client's descriptor."""
    if len(prefix) <= INLINE_PREFIX:
        yield prefix, ()
        return
    with open(os.memfd_create("hawse-prefix", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        left = memoryview(prefix)
        while left:
            left = left[file.write(left) :]
        yield b"", (file.fileno(),)
