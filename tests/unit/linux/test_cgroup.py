"""Limits become control files; detection reads mountinfo.  The v2 tree here is made of plain files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Resources
from hawse.supervisor.linux import cgroup_limits, cgroup_stats
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy, detect
from hawse.supervisor.linux.cgroup_limits import parse_list, settings_v1, settings_v2
from hawse.supervisor.linux.cgroup_stats import Account, Blocks

MB = 1 << 20
ALL = Resources(memory=64 * MB, memory_reservation=32 * MB, cpus=1.5, cpu_shares=512, cpuset_cpus="0-1", pids_limit=100)


def values(settings: object) -> dict[str, str]:
    return {s.file: s.value for s in settings}  # type: ignore[attr-defined]


def test_limits_on_v2() -> None:
    assert values(settings_v2(ALL)) == {
        "memory.max": str(64 * MB),
        "memory.low": str(32 * MB),
        "memory.swap.max": str(64 * MB),
        "cpu.max": "150000 100000",
        "cpu.weight": "20",
        "pids.max": "100",
        "cpuset.cpus": "0-1",
    }


def test_limits_on_v1() -> None:
    assert values(settings_v1(ALL)) == {
        "memory.limit_in_bytes": str(64 * MB),
        "memory.soft_limit_in_bytes": str(32 * MB),
        "memory.memsw.limit_in_bytes": str(128 * MB),
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
        "cpu.shares": "512",
        "pids.max": "100",
        "cpuset.cpus": "0-1",
    }


def test_no_limits_are_the_defaults_of_a_new_cgroup() -> None:
    assert all(s.is_default for s in settings_v2(Resources()))
    assert all(s.is_default for s in settings_v1(Resources()))


@pytest.mark.parametrize(
    ("memory_swap", "v2", "v1"),
    [(None, MB, 2 * MB), (-1, "max", -1), (MB, 0, MB), (3 * MB, 2 * MB, 3 * MB)],
)
def test_swap_is_counted_as_docker_does(memory_swap: int | None, v2: object, v1: object) -> None:
    limits = Resources(memory=MB, memory_swap=memory_swap)
    assert values(settings_v2(limits))["memory.swap.max"] == str(v2)
    assert values(settings_v1(limits))["memory.memsw.limit_in_bytes"] == str(v1)


@pytest.mark.parametrize("pids", [0, -1, None])
def test_unlimited_pids(pids: int | None) -> None:
    assert values(settings_v1(Resources(pids_limit=pids)))["pids.max"] == "max"


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000), (1, 1), (10**9, 10_000)])
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert values(settings_v2(Resources(cpu_shares=shares)))["cpu.weight"] == str(weight)


def test_a_tiny_share_of_a_cpu_is_the_least_the_kernel_takes() -> None:
    assert values(settings_v1(Resources(cpus=0.001)))["cpu.cfs_quota_us"] == "1000"


@given(st.sets(st.integers(0, 300)))
def test_cpu_lists(cpus: set[int]) -> None:
    assert parse_list(",".join(map(str, cpus))) == cpus
    if cpus:
        low, high = min(cpus), max(cpus)
        assert parse_list(f"{low}-{high}\n") == set(range(low, high + 1))


@pytest.mark.parametrize("text", ["a", "1-", "3-1", "-1", "0-99999999999"])
def test_bad_cpu_lists(text: str) -> None:
    with pytest.raises(UserError, match="Invalid value"):
        cgroup_limits.check_cpuset("cpus", text, "0-1")


def test_nodes_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"Requested memory nodes are not available - requested 1, available: 0$"):
        cgroup_limits.check_cpuset("mems", "1", "0\n")


def test_what_only_the_older_memory_controller_has() -> None:
    limits = Resources(memory=64 * MB, memory_swappiness=0, oom_kill_disable=True)
    shown = values(settings_v1(limits))
    assert (shown["memory.swappiness"], shown["memory.oom_control"]) == ("0", "1")
    kept, warnings = cgroup_limits.without_v1_memory(limits)
    assert kept == Resources(memory=64 * MB) and [w.split()[-2:] for w in warnings] == [
        ["swappiness", "discarded."],
        ["OomKillDisable", "discarded."],
    ]
    assert cgroup_limits.without_v1_memory(kept) == (kept, [])


def test_cpus_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"Requested CPUs are not available - requested 0-7, available: 0-1$"):
        cgroup_limits.check_cpuset("cpus", "0-7", "0-1\n")


HYBRID = """\
23 1 0:1 / / rw - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / {root}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / {root}/memory rw shared:3 - cgroup cgroup rw,memory
34 31 0:31 / {root}/blkio rw - cgroup cgroup rw,blkio
35 31 0:32 / {root}/unified rw - cgroup2 cgroup2 rw
"""


def test_detect_a_hybrid_machine(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("\n")
    (tmp_path / "mountinfo").write_text(HYBRID.format(root=tmp_path))
    found = detect("t1", tmp_path / "mountinfo")
    assert found.v2 is None
    assert dict(found.v1) == {
        "blkio": tmp_path / "blkio",
        "cpu": tmp_path / "cpu,cpuacct",
        "cpuacct": tmp_path / "cpu,cpuacct",
        "memory": tmp_path / "memory",
    }
    assert found.missing() == ["cpuset", "pids"]
    assert found.tops() == [tmp_path / f"{name}/hawse_t1" for name in ("blkio", "cpu,cpuacct", "memory")]
    group = Cgroup.open(found, "abc")
    assert group.v2_path == ""
    assert group.v1_paths == [str(tmp_path / f"{name}/hawse_t1/abc") for name in ("memory", "cpu,cpuacct", "blkio")]


def test_limits_of_controllers_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("")
    bare = detect("", tmp_path / "mountinfo")
    assert bare.missing() == ["memory", "cpu", "cpuset", "pids"]
    for limits in (Resources(memory=MB), Resources(cpus=1), Resources(cpuset_cpus="0"), Resources(pids_limit=1)):
        with pytest.raises(UserError, match="does not support"):
            Cgroup.create(bare, "abc", limits)
    empty = Cgroup.create(bare, "abc", Resources(pids_limit=-1))
    assert empty.paths() == [] and empty.pids() == set()
    assert empty.remove()


@pytest.fixture
def v2(tmp_path: Path) -> Hierarchy:
    """What the kernel would show, as files; also in the directories that `create` would make."""
    (tmp_path / "mountinfo").write_text(f"35 31 0:32 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    for directory in (tmp_path / "cg", tmp_path / "cg/hawse", tmp_path / "cg/hawse/abc"):
        directory.mkdir()
        (directory / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (directory / "cgroup.subtree_control").write_text("cpu\n" if directory.name == "cg" else "")
        (directory / "cpuset.cpus.effective").write_text("0-1\n")
        names = (
            "memory.max memory.low memory.swap.max cpu.max cpu.weight pids.max cpuset.cpus cgroup.kill cgroup.freeze"
        )
        for name in names.split():
            (directory / name).write_text("untouched")
    return detect("", tmp_path / "mountinfo")


def _delegate(mount: Path) -> Path:
    unit = mount / "system.slice/hawse-containers.service"
    unit.mkdir(parents=True)
    (unit / "cgroup.controllers").write_text("cpu memory pids\n")
    (unit / "cgroup.subtree_control").write_text("")
    return unit


def test_below_the_unit_where_systemd_delegates_one(v2: Hierarchy, tmp_path: Path) -> None:
    unit = _delegate(tmp_path / "cg")
    assert detect("", tmp_path / "mountinfo") == v2, "a daemon keeps to the place where its containers are"
    shutil.rmtree(tmp_path / "cg/hawse/abc")
    found = detect("", tmp_path / "mountinfo")
    assert found.top == unit and found.missing() == ["cpuset"]
    group = Cgroup.create(found, "def", Resources())
    assert group.v2_path == f"{unit}/def"
    assert (unit / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / "cg/cgroup.subtree_control").read_text() == "cpu\n", "systemd's"
    for other in ("shims", "init", "hook-1"):
        (unit / other).mkdir()
    assert found.owners() == {"def"}
    assert detect("t1", tmp_path / "mountinfo").top == tmp_path / "cg/hawse_t1"


def test_create_on_v2(v2: Hierarchy) -> None:
    assert v2.v2 is not None and v2.missing() == []
    group = Cgroup.create(v2, "abc", ALL)
    assert group.v2_path == str(v2.v2 / "hawse/abc")
    assert (v2.v2 / "cgroup.subtree_control").read_text() == "+cpuset +io +memory +pids"
    assert (v2.v2 / "hawse/cgroup.subtree_control").read_text() == "+cpu +cpuset +io +memory +pids"
    here = Path(group.v2_path)
    assert (here / "memory.max").read_text().startswith(str(64 * MB))
    assert (here / "cpu.max").read_text().startswith("150000 100000")
    assert (here / "cpuset.cpus").read_text().startswith("0-1")
    assert (v2.v2 / "hawse/memory.max").read_text() == "untouched"


def test_without_limits_nothing_is_written(v2: Hierarchy) -> None:
    here = Path(Cgroup.create(v2, "abc", Resources()).v2_path)
    assert {f.read_text() for f in here.glob("*.max")} == {"untouched"}
    Cgroup.open(v2, "abc").update(Resources())
    assert (here / "memory.max").read_text().startswith("max")


def test_statistics_on_v2(v2: Hierarchy) -> None:
    group = Cgroup.open(v2, "abc")
    here = Path(group.v2_path)
    for name, text in {
        "memory.current": "4096\n",
        "memory.max": "max\n",
        "memory.stat": "anon 1000\nfile 96\ninactive_file 7\n",
        "memory.events": "low 0\noom 3\noom_kill 2\n",
        "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
        "pids.current": "3\n",
        "pids.max": "100\n",
    }.items():
        (here / name).write_text(text)
    stats = group.stats()
    assert (stats.memory, stats.memory_peak, stats.memory_limit) == (4096, 4096, None), "no memory.peak before 5.19"
    assert stats.memory_stat["inactive_file"] == 7
    assert stats.oom_kills == 2 == group.oom_kills()
    assert (stats.cpu_ns, stats.cpu_user_ns, stats.cpu_system_ns) == (5_000_000, 3_000_000, 2_000_000)
    assert (stats.periods, stats.throttled_periods, stats.throttled_ns) == (4, 1, 9_000)
    assert (stats.pids, stats.pids_limit) == (3, 100)
    account = group.account()
    assert (account.memory_peak, account.cpu_ns, account.oom_kills) == (4096, 5_000_000, 2)
    (here / "memory.peak").write_text("8192\n")
    assert group.stats().memory_peak == group.account().memory_peak == 8192


def test_a_cgroup_that_is_gone_reads_as_nothing(v2: Hierarchy) -> None:
    gone = Cgroup.open(v2, "never")
    assert gone.stats().memory == 0 and gone.oom_kills() == 0 and gone.pids() == set()
    assert gone.account() == Account()
    gone.thaw()
    gone.kill()
    assert gone.remove()


def test_owners(v2: Hierarchy) -> None:
    assert v2.owners() == {"abc"}


def test_what_was_read_and_written_on_v2(tmp_path: Path) -> None:
    (tmp_path / "io.stat").write_text("8:16 rbytes=1459200 wbytes=4096 rios=192 wios=3 dbytes=0 dios=0\n7:0 \n254:1\n")
    assert cgroup_stats.read_v2(tmp_path).blocks == (
        Blocks(major=8, minor=16, read_bytes=1459200, written_bytes=4096, reads=192, writes=3),
    )


def test_what_was_read_and_written_on_v1(tmp_path: Path) -> None:
    for name, numbers in (("io_service_bytes", (8192, 512)), ("io_serviced", (2, 1))):
        lines = [f"8:0 {what} {n}" for what, n in zip(("Read", "Write"), numbers, strict=True)]
        text = "\n".join([*lines, f"8:0 Total {sum(numbers)}", f"Total {sum(numbers)}"])
        (tmp_path / f"blkio.throttle.{name}_recursive").write_text(text)
    assert cgroup_stats.read_v1({"blkio": tmp_path}).blocks == (
        Blocks(major=8, minor=0, read_bytes=8192, written_bytes=512, reads=2, writes=1),
    )
    assert cgroup_stats.read_v1({"blkio": tmp_path / "gone"}).blocks == ()
