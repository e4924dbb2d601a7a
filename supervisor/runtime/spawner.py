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
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    serve(daemon, wake, null)


def serve(daemon: socket.socket, wake: socket.socket, null: int) -> None:
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wake.fileno():
                wake.recv(4096)
                _reap()
                continue
            try:
                request, fds = protocol.receive(daemon)
            except (EOFError, OSError):
                return
            spawn(daemon, request, fds, null)


def spawn(daemon: socket.socket, request: dict[str, object], fds: list[int], null: int) -> None:
    """Fork a shim and tell the daemon about it."""
    answer = {"id": request.get("id"), "rid": request.get("rid")}
    try:
        pid = os.fork()
    except OSError as e:
        protocol.send(daemon, {"ev": "failed", "errno": e.errno, "message": f"fork: {e.strerror}", **answer})
    else:
        if pid == 0:
            _become_shim(str(request["spec_path"]), fds[0], null)
        # Not reaped yet, so the pid is still his, dead or alive.
        pidfd = os.pidfd_open(pid)
        try:
            protocol.send(daemon, {"ev": "spawned", "shim_pid": pid, **answer}, (pidfd,))
        except OSError:
            pass  # the daemon is gone; the next turn notices
        os.close(pidfd)
    for fd in fds:
        os.close(fd)


def _become_shim(spec_path: str, control: int, null: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(null, 2)
    if control > 3:
        syscalls.close_range(3, control - 1)
    syscalls.close_range(control + 1)
    shim.main(spec_path, socket.socket(fileno=control))


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
