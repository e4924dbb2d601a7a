"""What daemon, spawner, shim and init say to each other.  Stdlib only: the child side imports it.

All sockets are AF_UNIX SOCK_SEQPACKET: one JSON object a message, file descriptors beside it by SCM_RIGHTS.

    daemon → spawner   spawn(id, spec_path) + fd: the shim's first control connection
    spawner → daemon   spawned(id, shim_pid) + fd: pidfd of the shim        | failed(id, errno, message)
                       (it is the shim, forked ahead of time, that reads and answers on the spawner's socket)
    shim → daemon      hello namespaces ready started failed exited exec_started exec_exited, and answers
    daemon → shim      go abort attach exec resize netns state release

A restarted daemon connects to the shim's own socket (`ShimSpec.socket`) and speaks the same.  The protocol is versioned:
a shim says `hello` with its VERSION first, and a daemon understands every version from MIN_VERSION on, because a shim
outlives the daemon that made it and so an upgrade.
"""

from __future__ import annotations

import _socket
import json
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NoReturn

VERSION = 1
MIN_VERSION = 1
MAX_MESSAGE = 64 * 1024
MAX_FDS = 16

Socket = _socket.socket
"""The base class of socket.socket, which is one, too."""


@dataclass(frozen=True, kw_only=True)
class RootfsSpec:
    """The root: an overlay.  `lower` is top first.  All paths are the host's."""

    lower: list[str]
    upper: str
    work: str
    target: str  # an empty directory that becomes the mount point, in the container's mount namespace only
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class MountSpec:
    """type bind (source is a host path, directory or file) or tmpfs (data is its options)."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    idmap: bool = True  # bind only: shift ownership into the container's user namespace
    recursive: bool = True
    propagation: str = ""  # bind only: "" = rprivate, or as docker's `bind-propagation`
    data: str = ""


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """A program to run inside: the container's own, or an exec's.  `user` is resolved against the root's /etc/passwd."""

    argv: list[str]
    env: list[str]
    cwd: str = "/"
    user: str = ""
    groups: list[str] = field(default_factory=list)
    tty: bool = False
    stdin: bool = False
    caps: list[str] = field(default_factory=list)  # "CAP_CHOWN"; bounding, permitted, effective
    no_new_privileges: bool = True
    seccomp: str = ""  # path of a compiled BPF program on the host; "" = none
    apparmor: str = ""  # a profile that the kernel knows; "" = none
    rlimits: dict[str, list[int]] = field(default_factory=dict)  # "nofile": [soft, hard]
    oom_score_adj: int = 0
    console: list[int] = field(default_factory=list)  # rows and columns of its terminal at first; empty: 0, 0


@dataclass(frozen=True, kw_only=True)
class ShimSpec:
    """Everything a shim needs to know, written to a file before it is spawned."""

    id: str
    hostname: str
    domainname: str
    state_dir: str  # of this container, persistent: exit.json is written here
    run_dir: str  # of this container, on tmpfs
    socket: str  # path of the shim's control socket
    log_path: str  # "" keeps no log
    log_max_size: int
    log_max_files: int
    journal_fields: dict[str, str] | None = None  # what entries in systemd's journal have; None: there are none
    rootfs: RootfsSpec
    process: ProcessSpec
    mounts: list[MountSpec]
    uid_base: int | None  # None = no user namespace of its own
    uid_count: int
    net: str  # "new", "host", or "pid:N" = share that process's
    cgroup_v2: str  # path of the cgroup directory, "" where v2 has no controllers for us
    cgroup_v1: list[str]  # paths of the cgroup directories to join
    masked: list[str]
    read_only: list[str]
    devices: list[list[str]] = field(default_factory=list)  # [host path, container path]
    sysctls: dict[str, str] = field(default_factory=dict)
    shm_size: int = 64 << 20
    init: bool = False  # run a minimal init as PID 1
    stdin_once: bool = False
    privileged: bool = False
    device_nodes: bool = False  # those on user mounts may be opened, as far as the cgroup lets them


def dump_spec(spec: ShimSpec) -> str:
    return json.dumps(asdict(spec))


def load_spec(text: str) -> ShimSpec:
    """The inverse of `dump_spec`.  Keys that this version does not know are ignored (an older shim, a newer daemon)."""
    raw = json.loads(text)
    raw["rootfs"] = RootfsSpec(**raw["rootfs"])
    raw["process"] = load_process(raw["process"])
    raw["mounts"] = [MountSpec(**m) for m in raw["mounts"]]
    return ShimSpec(**{f.name: raw[f.name] for f in fields(ShimSpec) if f.name in raw})


def load_process(raw: dict[str, Any]) -> ProcessSpec:
    return ProcessSpec(**{f.name: raw[f.name] for f in fields(ProcessSpec) if f.name in raw})


def socketpair() -> tuple[Socket, Socket]:
    """Two connected ends for messages, close-on-exec."""
    return _socket.socketpair(_AF_UNIX, _SOCK_SEQPACKET, 0)


def send(sock: Socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """One message.  Raises BrokenPipeError when the other side is gone, ValueError when it is too long."""
    send_raw(sock, "".join(_encode(message, 0)).encode(), fds)


def receive(sock: Socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors (close-on-exec; the caller owns them).

    Raises EOFError at the end, ValueError for what is no JSON.
    """
    data, fds = receive_raw(sock)
    if not data:
        raise EOFError
    try:
        return decode(data), fds
    except ValueError:
        for fd in fds:
            os.close(fd)
        raise


def decode(data: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        message, _ = _decode(data.decode(), 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message


def send_raw(sock: Socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """A message as it was received.  Raises as `send`."""
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"message of {len(data)} bytes; at most {MAX_MESSAGE} fit")
    rights = [(_SOL_SOCKET, _SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    sock.sendmsg([data], rights, _MSG_NOSIGNAL)


def receive_raw(sock: Socket) -> tuple[bytes, list[int]]:
    """A message to pass on, and its descriptors; b"" at the end."""
    # Its size first: room for the longest would be taken from untouched memory, which a shim then has for itself.
    size = sock.recv_into(_probe, 1, _MSG_PEEK | _MSG_TRUNC)
    data, ancillary, _, _ = sock.recvmsg(size, _RIGHTS_SPACE, _MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
            fds += struct.unpack_from(f"{len(payload) // 4}i", payload)
    return data, fds


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{value!r} cannot be sent")


# A shim shares all memory with the spawner that it never touches.  The json and socket modules' own layers of Python would
# cost each of them some 400 KiB, so what lies below is used: json's C scanner and encoder, the base class of sockets, and
# plain integers for enumerations.
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_encode: Callable[[object, int], tuple[str, ...]] = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _refuse, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True
)
_AF_UNIX, _SOCK_SEQPACKET = int(socket.AF_UNIX), int(socket.SOCK_SEQPACKET)
_MSG_CMSG_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_MSG_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_MSG_PEEK, _MSG_TRUNC = int(socket.MSG_PEEK), int(socket.MSG_TRUNC)
_RIGHTS_SPACE = socket.CMSG_SPACE(MAX_FDS * 4)
_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_probe = bytearray(1)
_SOL_SOCKET = int(socket.SOL_SOCKET)
