"""What a container's root is made of, as values: `plan(spec)` decides; sources and operations tell and act.

Two kinds.  A Source (sources.py) is a detached mount that only the host's root can make.  An Operation (operations.py) is a
step that init takes inside, on the new root, in order.  Pure, and stdlib only: the child side imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hawse.supervisor.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)
from hawse.supervisor.shim.devicenodes import ANY, DeviceNode
from hawse.supervisor.shim.operations import (
    HARDENED,
    NODES,
    Bind,
    HostDevices,
    Mask,
    NewFilesystem,
    Operation,
    ReadOnly,
    Symlink,
    Sysctl,
)
from hawse.supervisor.shim.sources import Source, SysfsSource
from hawse.supervisor.shim.specs import MountSpec, ShimSpec

CGROUP = "/sys/fs/cgroup"
LINKS = {
    "/dev/ptmx": "pts/ptmx",
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/core": "/proc/kcore",
}
TTY_GROUP = 5
MOST_TERMINALS = 512
"""Of one container; the machine has 3072 for all of them (kernel.pty.max less kernel.pty.reserve)."""
AnySource = Source | SysfsSource | DeviceNode
TMPFS_FLAGS = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "strictatime": MOUNT_ATTR_STRICTATIME,
}
TMPFS_UNFLAGS = {"rw": "ro", "suid": "nosuid", "exec": "noexec"}  # "dev" is not to be had
TMPFS_OPTIONS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    layers: int  # the first sources are the overlay's lower layers, top first
    sources: tuple[AnySource, ...]
    operations: tuple[Operation, ...]

    def describe(self) -> str:
        return "\n".join(step.describe() for step in (*self.sources, *self.operations))


def plan(spec: ShimSpec) -> Plan:
    """Pure.  Raises ValueError for a mount that no container may have."""
    sources: list[AnySource] = [
        Source(path=path, attributes=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, idmap=True) for path in spec.rootfs.lower
    ]

    def source(value: AnySource) -> int:
        sources.append(value)
        return len(sources) - 1

    nodes = {name: source(_device(spec, f"/dev/{name}", name, number)) for name, number in NODES.items()}
    write_protect = 0 if spec.privileged else MOUNT_ATTR_RDONLY
    operations: list[Operation] = [NewFilesystem(kind="proc", target="/proc", attributes=HARDENED, exact=True)]
    operations += [Sysctl(key=key, value=value) for key, value in spec.sysctls.items()]
    if spec.net == "new" or spec.uid_base is None:
        operations.append(NewFilesystem(kind="sysfs", target="/sys", attributes=HARDENED | write_protect, exact=True))
    else:
        operations.append(Bind(source=source(SysfsSource(attributes=HARDENED | write_protect)), target="/sys"))
    for path, target in _cgroups(spec):
        if target == CGROUP + "/":
            options = (("mode", "755"), ("size", "64k"))
            operations.append(NewFilesystem(kind="tmpfs", target=CGROUP, attributes=HARDENED, options=options))
        else:
            clone = source(Source(path=path, attributes=HARDENED | write_protect))
            operations.append(Bind(source=clone, target=target))
    if spec.cgroup_v1 and not spec.cgroup_v2 and not spec.privileged:
        operations.append(ReadOnly(path=CGROUP, remount=True))
    operations += _dev(spec, nodes)
    for number, (path, target) in enumerate(spec.devices):
        operations.append(Bind(source=source(_device(spec, path, str(number), ANY)), target=target))
    for mount in sorted(spec.mounts, key=lambda m: len(_components(m.target))):
        _check_target(mount.target)
        if mount.type == "tmpfs":
            operations.append(_tmpfs(mount))
            continue
        attributes = 0 if spec.privileged or spec.device_nodes else MOUNT_ATTR_NODEV
        attributes |= MOUNT_ATTR_RDONLY if mount.read_only else 0
        bind = Source(
            path=mount.source,
            attributes=attributes,
            recursive=mount.recursive,
            idmap=mount.idmap,
            propagation=mount.propagation or "rprivate",
        )
        alone = mount.recursive and mount.propagation in ("slave", "shared")
        operations.append(Bind(source=source(bind), target=mount.target, alone=alone))
    operations += [Mask(path=path, null=nodes["null"]) for path in spec.masked]
    operations += [ReadOnly(path=path) for path in spec.read_only]
    return Plan(layers=len(spec.rootfs.lower), sources=tuple(sources), operations=tuple(operations))


def _cgroups(spec: ShimSpec) -> Iterator[tuple[str, str]]:
    """(host path, target) of the container's own cgroup directories; the target with a slash is the tmpfs for v1's."""
    if spec.cgroup_v2:
        yield spec.cgroup_v2, CGROUP
        return
    if spec.cgroup_v1:
        yield "", CGROUP + "/"
    for path in spec.cgroup_v1:
        controller = path.removeprefix(CGROUP + "/").partition("/")[0]
        yield path, f"{CGROUP}/{controller}"


def _dev(spec: ShimSpec, nodes: dict[str, int]) -> Iterator[Operation]:
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME | (0 if spec.privileged else MOUNT_ATTR_NODEV)
    options = (("mode", "755"), ("size", "65536k"))
    yield NewFilesystem(kind="tmpfs", target="/dev", attributes=attributes, options=options, exact=True)
    for name, index in nodes.items():
        yield Bind(source=index, target=f"/dev/{name}")
    group = [("gid", str(TTY_GROUP))] if spec.uid_base is None or spec.uid_count > TTY_GROUP else []
    yield NewFilesystem(
        kind="devpts",
        target="/dev/pts",
        attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
        options=(("ptmxmode", "0666"), ("mode", "0620"), ("max", str(MOST_TERMINALS)), *group),
    )
    options = (("mode", "1777"), ("size", str(spec.shm_size)))
    yield NewFilesystem(kind="tmpfs", target="/dev/shm", attributes=HARDENED, options=options)
    yield NewFilesystem(kind="mqueue", target="/dev/mqueue", attributes=HARDENED)
    for path, goal in LINKS.items():
        yield Symlink(path=path, goal=goal)
    if spec.privileged:
        yield HostDevices()


def _device(spec: ShimSpec, path: str, name: str, device: tuple[int, int]) -> DeviceNode:
    node = f"{spec.run_dir}/dev/{name}"
    return DeviceNode(path=path, node=node, device=device, uid_base=spec.uid_base, uid_count=spec.uid_count)


def _tmpfs(mount: MountSpec) -> NewFilesystem:
    """Docker's `--tmpfs` options; nosuid, nodev and noexec unless said otherwise."""
    flags = {"nosuid", "nodev", "noexec"} | ({"ro"} if mount.read_only else set())
    options = {"mode": "1777"}
    for word in filter(None, mount.data.split(",")):
        key, equals, value = word.partition("=")
        if equals and key in TMPFS_OPTIONS:
            options[key] = value
        elif word in TMPFS_FLAGS:
            flags.add(word)
        elif word in TMPFS_UNFLAGS:
            flags.discard(TMPFS_UNFLAGS[word])
        else:
            raise ValueError(f'invalid tmpfs option "{word}" for {mount.target}')
    attributes = sum(TMPFS_FLAGS[flag] for flag in flags)
    return NewFilesystem(kind="tmpfs", target=mount.target, attributes=attributes, options=tuple(options.items()))


def _components(path: str) -> list[str]:
    return [c for c in path.split("/") if c not in ("", ".")]


def _check_target(target: str) -> None:
    """CVE-2019-16884: a volume over /proc defeats what is written there.  And a root is not mounted over."""
    components = _components(target)
    if ".." in components:
        raise ValueError(f"mount target {target}: must not contain ..")
    if not components:
        raise ValueError(f"invalid mount target: destination can't be '{target or '/'}'")
    if components[0] == "proc":
        raise ValueError(f"mount target {target}: nothing may be mounted inside /proc")
