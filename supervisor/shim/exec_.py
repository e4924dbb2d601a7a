"""Another program inside a running container (`docker exec`): the child that enters, and the shim's view of it.

The child is forked into the container's pid namespace and enters the others by one setns(2) through init's pidfd.  Until
it executes the program it is not dumpable: nobody inside can trace it, or reach its descriptors or its executable
(CVE-2016-9962, CVE-2019-5736).  That does not hold off root of the host with CAP_SYS_PTRACE, which a container without a
user namespace can have.  Where there is none, then, the child stays out of the pid namespace, where nobody inside can name
it, until it has dropped its rights; the program is executed by a sibling that it forks into it.  Stdlib only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from hawse.supervisor.linux import syscalls
from hawse.supervisor.linux.userns import become_root
from hawse.supervisor.shim import protocol, stdio
from hawse.supervisor.shim.joining import join
from hawse.supervisor.shim.loop import READ, Loop
from hawse.supervisor.shim.offspring import expect, failed, keep_only, receive, set_limits, tell_failure, tie_to_parent
from hawse.supervisor.shim.program import Failure, Program, confine, read_filter
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.pump import Pump
from hawse.supervisor.shim.reaping import has_ended, reap
from hawse.supervisor.shim.specs import ProcessSpec, ShimSpec

DRAIN_LIMIT = 1.0


class Exec:
    """One of them, from fork to exit.  `on_started` or `on_failed` is called once, then `on_exit` after a start."""

    def __init__(
        self,
        loop: Loop,
        pump: Pump,
        *,
        on_started: Callable[[], None],
        on_failed: Callable[[Failure], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._loop, self.pump = loop, pump
        self._on_started, self._on_failed, self._on_exit = on_started, on_failed, on_exit
        self.pid = 0
        self.code: int | None = None
        self.is_running = False
        self._executing = False
        self._failure: Failure | None = None
        self._pidfd = -1
        self._channel: Socket | None = None

    def start(self, spec: ShimSpec, process: ProcessSpec, init_pidfd: int) -> None:
        """Raises OSError, Failure; then no callback comes."""
        seccomp = read_filter(process.seccomp)
        ours, theirs = protocol.socketpair()
        cgroup = os.open(spec.cgroup_v2, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if spec.cgroup_v2 else -1
        try:
            if spec.uid_base is not None:
                # For children only; the shim itself stays where it is.
                syscalls.setns(init_pidfd, syscalls.CLONE_NEWPID)
            self.pid, self._pidfd = syscalls.clone3(0, cgroup)
            if self.pid == 0:
                child(spec, process, seccomp, theirs, init_pidfd)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            if cgroup >= 0:
                os.close(cgroup)
        self._channel = ours
        self._loop.watch(ours.fileno(), READ, lambda _: self._on_message())
        self._loop.watch(self._pidfd, READ, lambda _: self._on_end())
        try:
            set_limits(self.pid, process.rlimits, process.oom_score_adj)
            protocol.send(ours, {"op": "go"})
        except (Failure, OSError) as e:
            # Its end tells the rest.
            self._failure = e if isinstance(e, Failure) else Failure("exec", e.strerror or str(e), e.errno or 0)
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _on_message(self) -> None:
        assert self._channel is not None
        message, fds = receive(self._channel)
        match message.get("ev"):
            case None:
                self._on_channel_end()
            case "stdio":
                self.pump.open(fds)
            case "sibling":
                self._watch_sibling(message["pid"], fds[0])
            case "executing":
                self._executing = True
            case "failed":
                self._failure = failed(message)

    def _watch_sibling(self, pid: int, pidfd: int) -> None:
        """The first child ends now, and the rest is told of its sibling."""
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self.pid, self._pidfd = pid, pidfd
        self._loop.watch(pidfd, READ, lambda _: self._on_end())

    def _on_channel_end(self) -> None:
        """The socket closes by exec, or by death."""
        if self._channel is None:
            return
        self._loop.forget(self._channel.fileno())
        self._channel.close()
        self._channel = None
        if self._executing and self._failure is None:
            self.is_running = True
            self._on_started()

    def _on_end(self) -> None:
        """It is dead; what it said before that is in the socket."""
        if not has_ended(self._pidfd):
            return
        first = self._pidfd
        while self._channel is not None and self._pidfd == first:
            self._on_message()
        if self._pidfd != first:
            return  # it was its sibling's turn, and that one is watched now
        ended = reap(self._pidfd)
        assert ended is not None
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        if self.is_running:
            self.code = ended[0]
            self.pump.drain(DRAIN_LIMIT, self._finished)
        else:
            failure = self._failure or failed({})
            self.pump.say("stderr", f"{failure.message}\r\n".encode())  # its HTTP is over: nobody else can tell it
            self.pump.finish()
            self._on_failed(failure)

    def _finished(self) -> None:
        self.is_running = False
        assert self.code is not None
        self._on_exit(self.code)
        self.pump.finish()


def child(spec: ShimSpec, process: ProcessSpec, seccomp: bytes, channel: Socket, init_pidfd: int) -> NoReturn:
    """Never returns, never raises."""
    try:
        keep_only(init_pidfd, channel.fileno())
        _run(spec, process, seccomp, channel, init_pidfd)
    except Failure as e:
        tell_failure(channel, e)
    except OSError as e:
        tell_failure(channel, Failure("exec", e.strerror or str(e), e.errno or 0))
    except BaseException as e:
        tell_failure(channel, Failure("exec", f"{type(e).__name__}: {e}"))
    os._exit(1)


def _run(spec: ShimSpec, process: ProcessSpec, seccomp: bytes, channel: Socket, init_pidfd: int) -> None:
    os.umask(0o022)
    syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-exec")
    syscalls.new_session_keyring()
    join(spec.cgroup_v1)
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWCGROUP
    flags |= syscalls.CLONE_NEWNET if spec.net != "host" else 0
    flags |= syscalls.CLONE_NEWUSER if spec.uid_base is not None else syscalls.CLONE_NEWPID
    confine(process.apparmor)
    syscalls.setns(init_pidfd, flags)
    os.close(init_pidfd)
    if spec.uid_base is not None:
        become_root()
    tie_to_parent(channel)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    streams = stdio.make(process, root)
    os.close(root)
    program = Program.prepare(process, seccomp, make_cwd=False)
    protocol.send(channel, {"ev": "stdio"}, streams.outside)
    for fd in streams.outside:
        os.close(fd)
    # Not before its limits are set.
    expect(channel, "go")
    program.restrict(streams)
    if spec.uid_base is None:
        _go_inside(channel)
    program.seal()
    streams.install()
    protocol.send(channel, {"ev": "executing"})
    program.execute()


def _go_inside(channel: Socket) -> None:
    """Returns in a sibling, which is in the container's pid namespace."""
    pid, pidfd = syscalls.fork_sibling()
    if pid:
        protocol.send(channel, {"ev": "sibling", "pid": pid}, (pidfd,))
        os._exit(0)
    tie_to_parent(channel)
