"""What the shim and its children (midwife, init, execs) tell each other, and what it does for them.  Stdlib only.

Each child has one SEQPACKET socket to the shim.  Its last word is `failed`, or the end of the socket.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from typing import Any

from hawse.supervisor.linux import syscalls
from hawse.supervisor.shim import protocol
from hawse.supervisor.shim.program import Failure
from hawse.supervisor.shim.protocol import Socket

Message = dict[str, Any]


def receive(channel: Socket) -> tuple[Message, list[int]]:
    """The next message from the other side of `channel`; {} at the end."""
    while True:
        try:
            return protocol.receive(channel)
        except ConnectionResetError:
            # It died with something of ours unread, which is told once; its own last words come after.
            continue
        except EOFError:
            return {}, []


def expect(channel: Socket, op: str) -> Message:
    """The next message from the shim, which must be that one.  Raises EOFError when the shim is gone."""
    message, fds = protocol.receive(channel)
    for fd in fds:
        os.close(fd)
    if message["op"] != op:
        raise Failure("gate", f"unexpected {message['op']} instead of {op}")
    return message


def tell_failure(channel: Socket, failure: Failure) -> None:
    """A child's last word."""
    try:
        protocol.send(
            channel,
            {
                "ev": "failed",
                "stage": failure.stage,
                "errno": failure.number,
                "message": failure.message,
                "exit_code": failure.exit_code,
            },
        )
    except OSError:
        pass


def failed(message: Message) -> Failure:
    """Return what a child said when it gave up; {} = it died without a word."""
    if message.get("ev") != "failed":
        return Failure("namespaces", "the process died before it could run the program")
    return Failure(message["stage"], message["message"], message["errno"], message["exit_code"])


def keep_only(*keep: int) -> None:
    """Close everything but 0, 1, 2 and these."""
    first = 3
    for fd in sorted(keep):
        if fd > first:
            syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first)


def tie_to_parent(channel: Socket) -> None:
    """Die with the shim; and if it died before this call, now."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    try:
        if not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(1)
    except BlockingIOError:
        pass


NONE = resource.RLIM_INFINITY
DEFAULT_LIMITS = {
    **dict.fromkeys(("core", "nproc", "cpu", "fsize", "data", "rss", "as", "rttime"), (NONE, NONE)),
    "nofile": (1024, 524288),
    "stack": (8 << 20, NONE),
    "memlock": (8 << 20, 8 << 20),
    "msgqueue": (819200, 819200),
    "nice": (0, 0),
    "rtprio": (0, 0),
}
"""Of every container, by whatever the daemon was started and limited: what docker's unit passes on (core, nproc; nofile as
systemd's default, which docker's containers have since its 29), else what the kernel gives to the first process
(include/asm-generic/resource.h).  All but sigpending, which depends on the machine's memory and which nobody sets."""


def set_limits(pid: int, rlimits: dict[str, list[int]], oom_score_adj: int) -> None:
    """Resource limits and the OOM score adjustment, which only the host's root may lower.  Raises Failure.

    The adjustment is inherited (proc_pid_oom_score_adj(5)): without being set it would be the daemon's, whom its unit
    protects, and the kernel would end everything else on the machine before the container that eats the memory.
    """
    for name, (soft, hard) in DEFAULT_LIMITS.items():
        if name not in rlimits and (number := getattr(resource, f"RLIMIT_{name.upper()}", None)) is not None:
            try:
                resource.prlimit(pid, number, (soft, hard))
            except PermissionError:  # less than root of the host: what may be had of it
                most = resource.prlimit(pid, number)[1]
                resource.prlimit(pid, number, (_lower(soft, most), _lower(hard, most)))
    for name, (soft, hard) in rlimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise Failure("exec", f"invalid ulimit type: {name}")
        try:
            resource.prlimit(pid, number, (soft, hard))
        except (OSError, ValueError) as e:
            reason = (
                "not permitted, the limit of the supervisor itself is lower" if isinstance(e, PermissionError) else e
            )
            raise Failure("exec", f"ulimit {name}={soft}:{hard}: {reason}", getattr(e, "errno", 0) or 0) from None
    try:
        file = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)  # open() costs a shim 100 KiB for good
        try:
            os.write(file, str(oom_score_adj).encode())
        finally:
            os.close(file)
    except OSError as e:
        # What is not permitted is less than root of the host set for us: the daemon itself stands higher, then, which
        # protects nobody, and nobody has asked for 0.
        if oom_score_adj or not isinstance(e, PermissionError):
            raise Failure("exec", f"oom_score_adj {oom_score_adj}: {os.strerror(e.errno or 0)}", e.errno or 0) from None


def _lower(limit: int, most: int) -> int:
    """Infinity is -1 in Python, and so no number to compare."""
    if limit == NONE or most == NONE:
        return most if limit == NONE else limit
    return min(limit, most)
