"""A small shim on the other end of a real socketpair, that speaks by a script."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hawse.supervisor.core.model import ContainerId, ProcessIdentity
from hawse.supervisor.linux import process
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.shim import protocol

CONTAINER = ContainerId("c" * 64)
STARTED = 1_700_000_000_000_000_000
EXIT = {"code": 137, "signal": 9, "oom": True, "started_at": STARTED, "finished_at": STARTED + 5}


class FakeShim:
    """Speaks for a shim whose init is a `sleep`, by a script: op → what to do.  Runs in a thread of its own."""

    def __init__(self, sock: socket.socket, keeper: subprocess.Popen[bytes], init: subprocess.Popen[bytes]) -> None:
        self.sock, self.keeper, self.init = sock, keeper, init
        self.seen: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self.answers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def say(self, ev: str, fds: tuple[int, ...] = (), **rest: Any) -> None:
        protocol.send(self.sock, {"ev": ev, **rest}, fds)

    def namespaces(self) -> None:
        pidfd = os.pidfd_open(self.init.pid)
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        started = process.start_time(self.init.pid)
        self.say("namespaces", (pidfd, netlink.fileno()), pid=self.init.pid, start_time=started)
        os.close(pidfd)
        netlink.close()

    def _serve(self) -> None:
        while True:
            try:
                message, fds = protocol.receive(self.sock)
            except (EOFError, OSError):
                return
            self.seen.append(message)
            self.fds += fds
            if (answer := self.answers.get(message["op"])) is not None:
                answer(message)


def who(pid: int) -> ProcessIdentity:
    found = process.identity(pid)
    assert found is not None
    return found


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])


@pytest.fixture
def processes() -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    made = sleeper(), sleeper()
    yield made
    for popen in made:
        popen.kill()
        popen.wait()


@pytest.fixture
async def pair(tmp_path: Path, processes: Any) -> AsyncIterator[tuple[Shim, FakeShim]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fake = FakeShim(theirs, *processes)
    shim = Shim(ours, CONTAINER, tmp_path, who(fake.keeper.pid))
    yield shim, fake
    shim.close()
    fake.thread.join(60)
    theirs.close()
    for fd in fake.fds:
        os.close(fd)


Pair = tuple[Shim, FakeShim]
