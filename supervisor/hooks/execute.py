"""One run of a program on the host: its own cgroup, a deadline, its output's end kept, and nothing left of it.

The daemon has threads and never forks; `subprocess.Popen` without preexec_fn is a vfork and an exec in C, in whose child no
Python runs (as when the spawner is started).  What must be done in the new process, launch.py does after that exec.  The
spawner is not used: its children wait ready-made for containers, and a hook would cost it the memory that they share.

Events come on standard input as a memory file, so that a hook which does not read, or closes it, disturbs nobody.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import structlog

from hawse.supervisor import faults
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Resources
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy
from hawse.supervisor.linux.process import wait_pidfd

CGROUP_PREFIX = "hook-"
TAIL = 4096  # bytes of output that are kept
ANSWER_LIMIT = 64 << 10
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
log = structlog.get_logger()

_LAUNCH = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended; a webhook's HTTP status becomes a code as well."""

    code: int | None = None
    signal: int = 0
    timed_out: bool = False
    output: str = ""  # the end of what it said: of a gate, stderr only
    answer: bytes = b""  # a gate's stdout; longer than ANSWER_LIMIT is cut, and so invalid

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out

    def describe(self, timeout: float) -> str:
        if self.timed_out:
            return f"no end in {timeout:g} s"
        return f"ended by signal {self.signal}" if self.signal else f"exit code {self.code}"


class _Tail:
    """The last bytes of a pipe, or the first ones."""

    def __init__(self, limit: int, *, first: bool = False) -> None:
        self.data = bytearray()
        self._limit, self._first = limit, first
        self.read, self.write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write, True)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.read, self._drain)

    def _drain(self) -> None:
        try:
            chunk = os.read(self.read, 65536)
        except BlockingIOError:
            return
        if not chunk:
            self._loop.remove_reader(self.read)
            return
        self.data += chunk
        if len(self.data) > self._limit:
            del self.data[self._limit + 1 if self._first else 0 : None if self._first else -self._limit]

    def close(self) -> bytes:
        """End the reading: what is in the pipe now still counts; who writes later was killed, or is not ours."""
        self._loop.remove_reader(self.read)
        for _ in range(64):
            size = len(self.data)
            self._drain()
            self._loop.remove_reader(self.read)
            if len(self.data) == size:
                break
        os.close(self.read)
        return bytes(self.data)


async def execute(
    program: int,
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    *,
    hierarchy: Hierarchy,
    name: str,
    timeout: float,
    user: str = "",
    answers: bool = False,
) -> Outcome:
    """Run what `program` has open, which stays the caller's.  Raises UserError when there is no such user, or OSError."""
    ids = _user(user)
    cgroup = Cgroup.create(_smallest(hierarchy), f"{CGROUP_PREFIX}{name}", Resources())
    memory = os.memfd_create("event", os.MFD_CLOEXEC)
    out = _Tail(ANSWER_LIMIT, first=True) if answers else None
    err = _Tail(TAIL)
    process: subprocess.Popen[bytes] | None = None
    timed_out = False
    try:
        os.write(memory, stdin)
        os.lseek(memory, 0, os.SEEK_SET)
        group = next(map(str, cgroup.paths()), "")
        os.set_inheritable(program, True)
        process = subprocess.Popen(  # noqa: ASYNC220  a vfork and an exec
            [sys.executable, "-I", "-S", "-X", "utf8", _LAUNCH, str(program), group, ids, *argv],
            stdin=memory,
            stdout=out.write if out else err.write,
            stderr=err.write,
            pass_fds=(program,),
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        faults.point("hook.running")
        with anyio.move_on_after(timeout) as deadline:
            await _ended(process)
        if deadline.cancelled_caught:
            timed_out = True
            os.killpg(process.pid, signal.SIGTERM)
            with anyio.move_on_after(GRACE):
                await _ended(process)
    finally:
        if process is not None:
            process.kill()  # before it has joined the cgroup, it is alone
        cgroup.kill()
        if process is not None:
            process.wait()
        await cgroup.clear()
        for pipe in filter(None, (out, err)):
            os.close(pipe.write)
        answer, output = out.close() if out else b"", err.close()
        os.close(memory)
    return Outcome(
        code=process.returncode if process.returncode >= 0 else None,
        signal=max(0, -process.returncode),
        timed_out=timed_out,
        output=output.decode(errors="replace").strip(),
        answer=answer,
    )


def sweep(hierarchy: Hierarchy) -> int:
    """Kill what the last daemon's hooks left; how many there were.

    Before any hook is run again, so that none is ever there twice.  A launcher that had not yet joined its cgroup finds it
    gone, and executes nothing.
    """
    found = {
        entry.name
        for top in hierarchy.tops()
        if top.is_dir()
        for entry in top.iterdir()
        if entry.name.startswith(CGROUP_PREFIX)
    }
    for name in found:
        if not Cgroup.open(hierarchy, name).remove():
            log.error("hook_does_not_die", cgroup=name)
    return len(found)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended; it is not reaped, so that its pid stays its own."""
    pidfd = os.pidfd_open(process.pid)
    try:
        await wait_pidfd(pidfd, None)
    finally:
        os.close(pidfd)


def _smallest(hierarchy: Hierarchy) -> Hierarchy:
    """Return the one to look at: one hierarchy is enough to find and kill everybody; on v1 that is the freezer's."""
    if hierarchy.v2:
        return hierarchy
    return replace(hierarchy, v1=tuple(x for x in hierarchy.v1 if x[0] == "freezer") or hierarchy.v1[:1])


def _user(name: str) -> str:
    """Return it as launch.py wants it."""
    if not name:
        return ""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise UserError(f"there is no user {name!r}") from None
    return ",".join(map(str, (entry.pw_uid, entry.pw_gid, *os.getgrouplist(name, entry.pw_gid))))
