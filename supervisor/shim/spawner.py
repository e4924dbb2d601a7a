"""The process that all shims are forked from: exec'd once, single-threaded, everything imported, nothing else to do.

One shim, with its midwife, is always forked ahead of time.  It reads the next request from the daemon's socket itself,
answers it, and says that it did, so that its successor is forked.  All that the spawner does between two forks is to wait:
what it would touch, the shims could no longer share with it.

It ends when its socket to the daemon does; the shims live on.  Stdlib only.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import gc
import os
import signal
import socket
import sys

from hawse.supervisor import faults
from hawse.supervisor.linux import cgroup_shims, mounts, syscalls
from hawse.supervisor.shim import protocol, waiting
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.rehearsal import rehearse

READ_ONLY_SELF = "hawse-read-only-self"
MSG_PEEK = int(socket.MSG_PEEK)
IGNORED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGTERM,
)
"""By the spawner, and so by shims; programs get the defaults back (program.reset_signals).  What ends everything on a machine
(systemd-shutdown, killall5) would else end the shims first, and each takes its container with it, unrecorded."""
SIGCHLD, SIG_DFL = int(signal.SIGCHLD), int(signal.SIG_DFL)


def main(fd: int, scratch: str, shims: str) -> None:
    """`shims` is the cgroup that shims are forked into, "" for none of their own."""
    protect_executable()
    daemon = Socket(fileno=fd)
    os.set_inheritable(fd, False)
    syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-spawner")
    # Every child inherits this until it execs: nothing inside a container may look into it.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    rehearse(scratch)
    # The kernel reaps shims by itself; a shim has children of its own to wait for, and undoes this.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    faults.arm(os.environ.get(faults.VARIABLE, ""))
    gc.freeze()
    serve(daemon, shims)


def serve(daemon: Socket, shims: str) -> None:
    while True:
        try:
            word = one(daemon, shims)
        except OSError:  # ahead of time: there may be room by when somebody asks
            try:
                daemon.recv(1, MSG_PEEK)
                word = one(daemon, shims)
            except OSError as e:
                if not refuse(daemon, e):
                    return
                continue
        faults.point("spawner.taken")
        if word == waiting.NO_DAEMON:
            return


def one(daemon: Socket, shims: str) -> bytes:
    """Fork a shim and wait until it has its job, or was killed; returns its word.  Raises OSError when there is no room."""
    read, write = os.pipe()
    try:
        if cgroup_shims.fork_into(shims) == 0:
            os.close(read)
            _signal.signal(SIGCHLD, SIG_DFL)
            os.dup2(1, 2)  # what it inherited as standard error ends with the daemon
            waiting.main(daemon, write)
        os.close(write)
        write = -1
        word = os.read(read, 2)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    if word[:1] == waiting.NO_ROOM:
        raise OSError(word[1], os.strerror(word[1]))
    return word


def refuse(daemon: Socket, error: OSError) -> bool:
    """There can be no more processes: say so to the next who asks.  False when nobody is there to ask."""
    try:
        request, fds = protocol.receive(daemon)
        for fd in fds:
            os.close(fd)
        answer = {"ev": "failed", "errno": error.errno, "message": f"fork: {error.strerror}"}
        protocol.send(daemon, {**answer, "id": request.get("id"), "rid": request.get("rid")})
    except (EOFError, OSError):
        return False
    return True


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
