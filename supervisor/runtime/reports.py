"""What a shim has told so far, as futures that client.py waits for.

Whatever comes is kept, in whatever order: an exit before anybody waits for it, an exec's end before its start is answered,
the whole past when a new daemon asks for the state.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from hawse.supervisor.core.errors import StartError, Unavailable
from hawse.supervisor.core.model import ProcessIdentity
from hawse.supervisor.linux import process
from hawse.supervisor.runtime.channel import Descriptors, Message, failure
from hawse.supervisor.runtime.exitrecord import ExitInfo, parse_exit
from hawse.supervisor.shim.protocol import MIN_VERSION, VERSION

KILLED = 137
"""The exit code of an exec whose container ended under it."""


class ForeignShim(Unavailable):
    """A shim lives and keeps its container, but speaks a protocol that this daemon does not."""


class Reports:
    """Owns init's pidfd and the netlink socket, once they have come."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.identity: ProcessIdentity | None = None  # of init
        self.pidfd = -1
        self.netlink: socket.socket | None = None
        self.go_rid = 0  # an error with this rid is the gate's
        self.hello: asyncio.Future[None] = _future()
        self.namespaces: asyncio.Future[None] = _future()
        self.ready: asyncio.Future[dict[str, int]] = _future()
        self.started: asyncio.Future[dict[str, int]] = _future()
        self.exited: asyncio.Future[ExitInfo] = _future()
        self.execs: dict[str, asyncio.Future[int]] = {}
        self.lost = asyncio.Event()

    def take(self, message: Message, received: Descriptors) -> None:
        """Take one event.  Those that a newer shim may have are passed over."""
        match message.get("ev"):
            case "hello":
                version = int(message.get("version", 0))
                if not MIN_VERSION <= version <= VERSION:
                    age = "old" if version < MIN_VERSION else "new"
                    text = f"{self.peer} speaks version {version}, which is too {age} for this daemon"
                    hint = "install the hawse that started the container again; it keeps running"
                    _fail(self.hello, ForeignShim(text, hint=hint))
                _settle(self.hello, None)
            case "namespaces" if self.identity is None:
                self._identify(message)
                if (pidfd := received.take()) is not None:
                    self.pidfd = pidfd
                if (netlink := received.take()) is not None:
                    self.netlink = socket.socket(fileno=netlink)
                _settle(self.namespaces, None)
            case "ready":
                _settle(self.ready, message.get("stages") or {})
            case "started":
                _settle(self.started, message.get("stages") or {})
            case "failed":
                text = message.get("message") or failure("start", message).message
                stage, code = message.get("stage") or "", message.get("exit_code") or 125
                self._fail_start(StartError(text, stage=stage, exit_code=code))
            case "error" if message.get("rid") == self.go_rid:
                self._fail_start(StartError(failure("go", message).message, stage="gate"))
            case "exited":
                # Our copy of the netlink socket would keep the network namespace, and so the veth, alive.
                self.close_netlink()
                _settle(self.exited, parse_exit(message["exit"]))
            case "exec_exited":
                if (future := self.execs.get(message["exec_id"])) is not None:
                    _settle(future, int(message["code"]))

    def take_state(self, state: Message) -> None:
        """Take what happened before this connection, from the answer to `state`."""
        phase, stages = state["phase"], state.get("stages") or {}
        if state.get("pid"):
            identity = self._identify(state)
            pidfd = process.open_pidfd(identity)
            self.pidfd = -1 if pidfd is None else pidfd
            _settle(self.namespaces, None)
        if phase in ("ready", "running", "exited"):
            _settle(self.ready, stages)
        if phase in ("running", "exited"):
            _settle(self.started, stages)
        if state.get("exit"):
            _settle(self.exited, parse_exit(state["exit"]))
        for exec_id, told in (state.get("execs") or {}).items():
            future = self.execs.get(exec_id) or self.expect_exec(exec_id)
            if not told["running"]:
                _settle(future, told["code"])

    def expect_exec(self, exec_id: str) -> asyncio.Future[int]:
        """To be called before the exec is asked for: its end may come before the answer."""
        future: asyncio.Future[int] = _future()
        self.execs[exec_id] = future
        return future

    def lose(self, *, let_go: bool) -> None:
        """The connection is over, by our own decision (`let_go`) or because the shim is gone."""
        gone = Unavailable(f"{self.peer} is gone")
        for future in (self.hello, self.namespaces):
            _fail(future, gone)
        for stage in (self.ready, self.started):
            _fail(stage, gone)
        for exec_ in self.execs.values():
            if let_go and not self.exited.done():
                _fail(exec_, gone)
            else:
                _settle(exec_, KILLED)
        self.lost.set()

    def close_netlink(self) -> None:
        if self.netlink is not None:
            self.netlink.close()
            self.netlink = None

    def close(self) -> None:
        self.close_netlink()
        if self.pidfd >= 0:
            fd, self.pidfd = self.pidfd, -1
            os.close(fd)

    def _identify(self, message: Message) -> ProcessIdentity:
        self.identity = ProcessIdentity(pid=message["pid"], start_time=message["start_time"], boot_id=process.boot_id())
        return self.identity

    def _fail_start(self, error: StartError) -> None:
        _fail(self.namespaces, error)
        _fail(self.ready, error)
        _fail(self.started, error)


def _future() -> asyncio.Future[Any]:
    """Nobody has to look at it: a start that fails at one stage fails the stages nobody waits for, too."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda f: f.cancelled() or f.exception())
    return future


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
