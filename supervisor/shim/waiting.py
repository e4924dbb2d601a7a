"""The shim before it is one: forked ahead of time with its midwife, it waits for its job and answers for it.

Few things are used here, and the plainest: what a shim touches is what it costs (rehearsal.py).  Stdlib only.
"""

from __future__ import annotations

import os
import select
import traceback
from typing import NoReturn

from hawse.supervisor.shim import midwife, protocol
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.shim import Shim

TAKEN, NO_DAEMON, NO_ROOM = b"t", b"n", b"r"
"""What a shim says to the spawner: it has its job; there will be none any more; or it could fork no midwife, and the errno."""


def main(jobs: Socket, spawner: int) -> NoReturn:
    """The whole life of a shim, in a process of its own: waits for its job on `jobs`, the spawner's socket to the daemon.

    `spawner` is a pipe to the spawner.  Never returns, never raises.
    """
    shim: Shim | None = None
    try:
        os.setsid()
        _set_name(b"hawse-shim")
        link, theirs = protocol.socketpair()
        channel, inits = protocol.socketpair()
        try:
            midwife_pid = os.fork()
        except OSError as e:
            os.write(spawner, NO_ROOM + bytes((e.errno or 0,)))
            os._exit(1)
        if midwife_pid == 0:
            midwife.main(theirs, channel, inits)
        theirs.close()
        inits.close()
        shim = Shim(link, channel, midwife_pid)
        job, control = wait_for_job(jobs, spawner)
        jobs.close()
        os.close(spawner)
        shim.run(job, control)
        os._exit(0)
    except BaseException:
        _leave_word(shim)
        os._exit(1)


def wait_for_job(jobs: Socket, spawner: int) -> tuple[bytes, Socket]:
    """The request, and the daemon's control connection that came with it.  Answers it.  Exits when none will come."""
    poll = select.poll()
    poll.register(jobs, select.POLLIN)
    poll.register(spawner, 0)  # an error on it: nobody reads it any more
    if any(fd == spawner for fd, _ in poll.poll()):
        os._exit(0)
    job, fds = protocol.receive_raw(jobs)
    if not job:
        os.write(spawner, NO_DAEMON)
        os._exit(0)
    os.write(spawner, TAKEN)
    request = protocol.decode(job)
    pid = os.getpid()
    pidfd = os.pidfd_open(pid)
    answer = {"ev": "spawned", "shim_pid": pid, "id": request.get("id"), "rid": request.get("rid")}
    protocol.send(jobs, answer, (pidfd,))
    os.close(pidfd)
    return job, Socket(fileno=fds[0])


def _set_name(name: bytes) -> None:
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, name)
    os.close(fd)


def _leave_word(shim: Shim | None) -> None:
    """A shim has no standard error that anybody reads."""
    if shim is None or shim.charge is None:
        return
    try:
        path = f"{shim.charge.state_dir}/shim.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, traceback.format_exc().encode())
    except OSError:
        pass
