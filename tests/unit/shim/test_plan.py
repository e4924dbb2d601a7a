"""The mount plan: what is decided, in which order, without any of it being done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hawse.supervisor.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from hawse.supervisor.shim.devicenodes import DeviceNode
from hawse.supervisor.shim.operations import Bind, Mask, NewFilesystem, ReadOnly
from hawse.supervisor.shim.plan import AnySource, plan
from hawse.supervisor.shim.sources import Source, SysfsSource
from hawse.supervisor.shim.specs import MountSpec, ProcessSpec, RootfsSpec, ShimSpec

SPEC = ShimSpec(
    id="c",
    hostname="h",
    domainname="",
    state_dir="/s",
    run_dir="/r",
    socket="/r/shim.sock",
    log_path="/s/log",
    log_max_size=0,
    log_max_files=1,
    rootfs=RootfsSpec(lower=["/top", "/bottom"], upper="/s/upper", work="/s/work", target="/s/root"),
    process=ProcessSpec(argv=["true"], env=[]),
    mounts=[],
    uid_base=100_000,
    uid_count=65_536,
    net="new",
    cgroup_v2="",
    cgroup_v1=[],
    masked=["/proc/keys"],
    read_only=["/proc/sys"],
)


def filesystems(**changes: Any) -> dict[str, NewFilesystem]:
    return {step.target: step for step in plan(replace(SPEC, **changes)).operations if isinstance(step, NewFilesystem)}


def source_of(spec: ShimSpec, target: str) -> AnySource:
    made = plan(spec)
    return next(made.sources[s.source] for s in made.operations if isinstance(s, Bind) and s.target == target)


def test_layers_come_first_and_are_mapped_read_only_and_without_devices() -> None:
    made = plan(SPEC)
    assert made.layers == 2
    for source, path in zip(made.sources, ("/top", "/bottom"), strict=False):
        assert isinstance(source, Source)
        assert (source.path, source.idmap) == (path, True)
        assert source.attributes == MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV


def test_protection_comes_last() -> None:
    operations = plan(replace(SPEC, mounts=[MountSpec(type="tmpfs", target="/x")])).operations
    kinds = [type(step) for step in operations]
    assert kinds[-2:] == [Mask, ReadOnly]
    assert [step.target for step in operations if isinstance(step, NewFilesystem)][-1] == "/x"


def test_mounts_are_made_from_the_top_down() -> None:
    mounts = [MountSpec(type="tmpfs", target=target) for target in ("/a/b/c", "/a", "/a/b")]
    assert [t for t in filesystems(mounts=mounts) if t.startswith("/a")] == ["/a", "/a/b", "/a/b/c"]


def test_system_directories_must_not_be_links() -> None:
    made = filesystems()
    assert {target for target, step in made.items() if step.exact} == {"/proc", "/sys", "/dev"}


def test_binds_have_no_devices_unless_privileged() -> None:
    mount = MountSpec(type="bind", source="/host", target="/x", read_only=True)
    usual = source_of(replace(SPEC, mounts=[mount]), "/x")
    assert usual == Source(path="/host", attributes=MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY, recursive=True, idmap=True)
    privileged = source_of(replace(SPEC, mounts=[mount], privileged=True, uid_base=None), "/x")
    assert privileged.attributes == MOUNT_ATTR_RDONLY


def test_sysfs_belongs_to_the_owner_of_the_network() -> None:
    assert "/sys" in filesystems()
    for net in ("host", "pid:1"):
        shared = replace(SPEC, net=net)
        assert isinstance(source_of(shared, "/sys"), SysfsSource)
        assert "/sys" in filesystems(net=net, uid_base=None)


def test_cgroups_of_both_versions() -> None:
    v1 = replace(SPEC, cgroup_v1=["/sys/fs/cgroup/memory/hawse/c", "/sys/fs/cgroup/cpu,cpuacct/hawse/c"])
    for target in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"):
        assert source_of(v1, target).attributes & MOUNT_ATTR_RDONLY
    assert ReadOnly(path="/sys/fs/cgroup", remount=True) in plan(v1).operations
    v2 = replace(SPEC, cgroup_v2="/sys/fs/cgroup/hawse/c")
    assert source_of(v2, "/sys/fs/cgroup").attributes & MOUNT_ATTR_RDONLY
    assert not source_of(replace(v2, privileged=True), "/sys/fs/cgroup").attributes & MOUNT_ATTR_RDONLY


def test_device_nodes_are_what_they_should_be() -> None:
    made = plan(SPEC)
    nodes = {s.path: s.device for s in made.sources if isinstance(s, DeviceNode)}
    assert nodes["/dev/null"] == (1, 3)
    assert set(nodes) == {f"/dev/{n}" for n in ("null", "zero", "full", "random", "urandom", "tty")}
    assert (
        made.sources[next(s.null for s in made.operations if isinstance(s, Mask))].describe() == "device node /dev/null"
    )


@pytest.mark.parametrize(
    ("data", "attributes", "options"),
    [
        ("", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, {"mode": "1777"}),
        (
            "rw,size=64m,mode=700",
            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
            {"mode": "700", "size": "64m"},
        ),
        ("exec,suid", MOUNT_ATTR_NODEV, {"mode": "1777"}),
        ("ro,noexec", MOUNT_ATTR_RDONLY | 14, {"mode": "1777"}),
    ],
)
def test_tmpfs_options(data: str, attributes: int, options: dict[str, str]) -> None:
    step = filesystems(mounts=[MountSpec(type="tmpfs", target="/t", data=data)])["/t"]
    assert (step.attributes, dict(step.options)) == (attributes, options)


def test_an_unknown_tmpfs_option_is_named() -> None:
    with pytest.raises(ValueError, match='invalid tmpfs option "dev" for /t'):
        plan(replace(SPEC, mounts=[MountSpec(type="tmpfs", target="/t", data="dev")]))


@pytest.mark.parametrize("target", ["/", "", "//.", "/proc", "/proc/x", "//proc/./y", "/a/../proc"])
def test_places_that_are_not_for_mounts(target: str) -> None:
    with pytest.raises(ValueError, match="mount target"):
        plan(replace(SPEC, mounts=[MountSpec(type="tmpfs", target=target)]))


def test_a_plan_can_be_read() -> None:
    text = plan(replace(SPEC, sysctls={"kernel.msgmax": "1"})).describe().splitlines()
    assert text[0] == "clone /top with ids mapped"
    assert "sysctl kernel.msgmax=1" in text
    assert text[-1] == "read-only /proc/sys"
    assert len(text) == len(set(text))
