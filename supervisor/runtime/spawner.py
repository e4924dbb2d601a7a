"""The process that all shims are forked from: exec'd once, single-threaded, everything imported, nothing else to do.

It ends when its socket to the daemon does; the shims live on.  Stdlib only.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys

from hawse.supervisor.linux import mounts, syscalls
from hawse.supervisor.runtime import protocol, shim

READ_ONLY_SELF = "hawse-read-only-self"


def main(fd: int) -> None:
    protect_executable()
    daemon = socket.socket(fileno=fd)
    daemon.set_inheritable(False)
    syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-spawner")
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    serve(daemon, wake)


def serve(daemon: socket.socket, wake: socket.socket) -> None:
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    poll.register(wake, select.POLLIN)
    nursery = Nursery()
    while True:
        for fd, _ in poll.poll():
            if fd == wake.fileno():
                wake.recv(4096)
                _reap()
                continue
            try:
                request, fds = protocol.receive_raw(daemon)
            except OSError:
                return
            if not request:
                return
            spawn(daemon, nursery, request, fds)


class Nursery:
    """One shim, with its midwife, that has been forked ahead of time and waits for its job."""

    def __init__(self) -> None:
        self._pid = self._pidfd = 0
        self._job: socket.socket | None = None
        try:
            self.fill()
        except OSError:
            pass  # the next request tries again, and there is somebody to tell

    def fill(self) -> None:
        """Raises OSError when there can be no more processes."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._pid = os.fork()
        except OSError:
            ours.close()
            raise
        finally:
            if self._pid:
                theirs.close()
        if self._pid == 0:
            _become_shim(theirs)
        self._pidfd = os.pidfd_open(self._pid)
        self._job = ours

    def take(self, request: bytes, fds: list[int]) -> tuple[int, int]:
        """Give the job to it: (pid, pidfd).  If it was killed while it waited, to another one.  Raises OSError."""
        while True:
            if self._job is None:
                self.fill()
            assert self._job is not None
            job, self._job = self._job, None
            try:
                with job:
                    protocol.send_raw(job, request, tuple(fds))
                return self._pid, self._pidfd
            except BrokenPipeError:
                os.close(self._pidfd)


def spawn(daemon: socket.socket, nursery: Nursery, request: bytes, fds: list[int]) -> None:
    """Have a shim take it, tell the daemon about it, and only then see to the next."""
    wanted = protocol.decode(request)
    answer = {"id": wanted.get("id"), "rid": wanted.get("rid")}
    try:
        pid, pidfd = nursery.take(request, fds)
    except OSError as e:
        protocol.send(daemon, {"ev": "failed", "errno": e.errno, "message": f"fork: {e.strerror}", **answer})
        return
    finally:
        for fd in fds:
            os.close(fd)
    try:
        protocol.send(daemon, {"ev": "spawned", "shim_pid": pid, **answer}, (pidfd,))
    except OSError:
        pass  # the daemon is gone; the next turn notices
    os.close(pidfd)
    try:
        nursery.fill()
    except OSError:
        pass


def _become_shim(nursery: socket.socket) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(1, 2)  # what it inherited as standard error ends with the daemon
    shim.main(nursery)


def protect_executable() -> None:
    """Execute this interpreter again from a read-only mount of it, unless that is done already.

    A container without a user namespace of its own can make a process of ours execute our own interpreter again, inside,
    by a script that begins with #!/proc/self/exe, and then open that process's executable for writing (CVE-2019-5736).
    Through a read-only mount it cannot.  Where the kernel refuses, everything else still works.
    """
    if sys.orig_argv[-1] == READ_ONLY_SELF:
        return
    try:
        mount = mounts.open_tree(os.path.realpath("/proc/self/exe"))
        mounts.set_attributes(mount, mounts.MOUNT_ATTR_RDONLY)
        os.execve(f"/proc/self/fd/{mount}", [*sys.orig_argv, READ_ONLY_SELF], dict(os.environ))
    except OSError:
        return


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
