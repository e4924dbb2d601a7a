"""Containers for the tests of the child side: a real spawner, real shims, a busybox root, no daemon.

The spawner runs in a mount and network namespace of its own, so nothing of it can reach the machine's.  In there all is
shared, as on a machine that systemd has booted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest

from hawse.cli.selftest.waiting import PATIENCE
from hawse.supervisor.core.capabilities import DEFAULT_CAPABILITIES
from hawse.supervisor.core.hidden import MASKED, READ_ONLY
from hawse.supervisor.core.model import ContainerId
from hawse.supervisor.runtime import boot
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.runtime.exitrecord import ExitInfo
from hawse.supervisor.runtime.launcher import Spawner
from hawse.supervisor.shim.specs import ProcessSpec, RootfsSpec, ShimSpec

UID_BASE = 3_000_000
PRIVATE = (
    *("unshare", "--mount", "--net", "--propagation", "private"),
    *("sh", "-c", 'mount --make-rshared / && exec "$@"', "shared"),  # as systemd leaves it at boot
)
PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\nstaff:x:50:app\naudio:x:63:app,root\n"
DIRECTORIES = ("bin", "proc", "sys", "dev", "etc", "tmp", "root", "home/app", "var")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished container left: how it ended and what it said."""

    exit: ExitInfo
    stdout: str
    stderr: str

    @property
    def code(self) -> int | None:
        return self.exit.code

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


class Box:
    """One container, started."""

    def __init__(self, shim: Shim, spec: ShimSpec) -> None:
        self.shim, self.spec = shim, spec

    async def finish(self) -> Outcome:
        ended = await asyncio.wait_for(self.shim.wait_exit(), PATIENCE)
        await self.shim.release()
        self.shim.close()
        return Outcome(exit=ended, stdout=self.said("stdout"), stderr=self.said("stderr"))

    def said(self, stream: str = "stdout") -> str:
        """What the log holds now."""
        pieces = []
        for line in Path(self.spec.log_path).read_bytes().splitlines(keepends=True):
            _, name, tag, data = line.split(b" ", 3)
            if name.decode() == stream:
                pieces.append(data if tag == b"F" else data[:-1])
        return b"".join(pieces).decode()

    async def wait_said(self, text: str) -> None:
        await eventually(lambda: text in self.said())

    async def attach(self, options: AttachOptions, prefix: bytes = b"") -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            await self.shim.attach(theirs.fileno(), prefix, options)
        ours.setblocking(False)
        return ours

    async def exec(self, *argv: str, stdin: bytes | None = None, **process: Any) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of another program inside."""
        program = replace(
            self.spec.process, **{"tty": False, "stdin": stdin is not None, **process, "argv": list(argv)}
        )
        exec_id = os.urandom(4).hex()
        ours, theirs = socket.socketpair()
        with theirs:
            options = AttachOptions(stdin=stdin is not None, framed=not program.tty)
            try:
                await self.shim.exec(exec_id, program, options, theirs.fileno())
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        if stdin is not None:
            await asyncio.get_running_loop().sock_sendall(ours, stdin)
            ours.shutdown(socket.SHUT_WR)
        data = await read_all(ours)
        code = await asyncio.wait_for(self.shim.exec_exit(exec_id), PATIENCE)
        if program.tty:
            return code, data.decode(), ""
        return code, unframe(data, 1).decode(), unframe(data, 2).decode()


class Boxes:
    """The spawner and the root they are made of; use as `async with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lower = path / "lower"
        self._count = 0
        self._shims: list[Shim] = []

    async def __aenter__(self) -> Self:
        make_root(self.lower)
        command = boot.command_line
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boot, "command_line", lambda *given: [*PRIVATE, *command(*given)])
            self.spawner = await Spawner.start(self.path / "spawner")
        return self

    async def __aexit__(self, *_: object) -> None:
        for shim in self._shims:
            if shim.is_connected:
                await shim.abort()
            shim.close()
        self.spawner.close()

    def spec(self, *argv: str, **changes: Any) -> ShimSpec:
        """A container with docker's defaults; keywords are fields of ShimSpec, or of its ProcessSpec."""
        self._count += 1
        state, run = self.path / f"c{self._count}", self.path / f"r{self._count}"
        state.mkdir(mode=0o700)
        run.mkdir(mode=0o700)
        process = {k: changes.pop(k) for k in tuple(changes) if k in ProcessSpec.__dataclass_fields__}
        spec = ShimSpec(
            id=ContainerId(f"{self._count:064x}"),
            hostname="box",
            domainname="",
            state_dir=str(state),
            run_dir=str(run),
            socket=str(run / "shim.sock"),
            log_path=str(state / "log"),
            log_max_size=0,
            log_max_files=1,
            rootfs=RootfsSpec(
                lower=[str(self.lower)],
                upper=str(state / "upper"),
                work=str(state / "work"),
                target=str(state / "root"),
            ),
            process=ProcessSpec(
                **{"env": ["PATH=/bin"], "caps": list(DEFAULT_CAPABILITIES), **process, "argv": list(argv)}
            ),
            mounts=[],
            uid_base=UID_BASE,
            uid_count=65536,
            net="new",
            cgroup_v2="",
            cgroup_v1=[],
            masked=list(MASKED),
            read_only=list(READ_ONLY),
        )
        return replace(spec, **changes)

    async def start(self, spec: ShimSpec, before_go: Callable[[Box], Awaitable[None]] | None = None) -> Box:
        shim = await self.spawner.launch(spec)
        self._shims.append(shim)
        box = Box(shim, spec)
        try:
            await shim.wait_ready()
            if before_go:
                await before_go(box)
            await shim.open_gate()
        except BaseException:
            await shim.abort()
            raise
        return box

    async def run(self, *argv: str, **changes: Any) -> Outcome:
        return await (await self.start(self.spec(*argv, **changes))).finish()

    async def sh(self, script: str, **changes: Any) -> Outcome:
        return await self.run("sh", "-c", script, **changes)


def make_root(lower: Path) -> None:
    for name in DIRECTORIES:
        (lower / name).mkdir(parents=True)
    (lower / "tmp").chmod(0o1777)
    os.chown(lower / "home/app", 1000, 1000)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, lower / "bin/busybox")
    for applet in (
        "sh cat ls id env pwd echo sleep true false mount hostname touch stat mkdir dd head wc kill ps readlink grep tr "
        "stty mknod chown chmod ln nproc seq tty test yes sync setsid nc"
    ).split():
        (lower / "bin" / applet).symlink_to("busybox")
    (lower / "etc/passwd").write_text(PASSWD)
    (lower / "etc/group").write_text(GROUP)


async def eventually(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Polls, for conditions of which the kernel sends no event."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)


async def read_all(sock: socket.socket) -> bytes:
    """Until the other side closes."""
    data = bytearray()
    with sock:
        async with asyncio.timeout(PATIENCE):
            while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
                data += piece
    return bytes(data)


def unframe(data: bytes, stream: int) -> bytes:
    """The bytes of one stream out of docker's frames; asserts that they are whole."""
    out, at = b"", 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8])
        assert len(data) >= at + 8 + size, "a torn frame"
        if data[at] == stream:
            out += data[at + 8 : at + 8 + size]
        at += 8 + size
    return out


async def receive_until(sock: socket.socket, text: bytes) -> bytes:
    data = b""
    async with asyncio.timeout(PATIENCE):
        while text not in data:
            piece = await asyncio.get_running_loop().sock_recv(sock, 65536)
            assert piece, f"ended after {data!r}"
            data += piece
    return data


def runs(pid: int, program: bytes) -> bool:
    """Whether a descendant executes that program by now, and so is in the foreground of its shell's terminal."""
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(program) or runs(child, program):
                return True
    return False
