"""What a container is to its shim: the daemon writes it to a file, spawner, shim and init read it.

Pure, and stdlib only: the child side imports it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of a container whose environment has none, as docker's."""


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
