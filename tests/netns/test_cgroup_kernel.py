"""Real cgroups: this machine's v1 controllers, and the core of v2 wherever it is mounted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.waiting import PATIENCE
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Resources
from hawse.supervisor.linux import cgroup_devices
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_devices import Rule
from hawse.supervisor.linux.cgroup_hierarchy import Hierarchy, detect

MB = 1 << 20


@pytest.fixture
def instance() -> str:
    return f"t{os.getpid()}"


@pytest.fixture
def machine(instance: str) -> Iterator[Hierarchy]:
    """Whatever this machine has; nothing of ours is there afterwards."""
    hierarchy = detect(instance)
    yield hierarchy
    for owner in hierarchy.owners():
        Cgroup.open(hierarchy, owner).remove(60)
    hierarchy.remove()
    assert not any(top.exists() for top in hierarchy.tops())


@pytest.fixture(params=["machine", "v2 core"])
def either(request: pytest.FixtureRequest, machine: Hierarchy) -> Iterator[Hierarchy]:
    if request.param == "machine":
        yield machine
        return
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    core = Hierarchy(name=machine.name, v2=Path(mounts[0][4]))
    yield core
    for owner in core.owners():
        Cgroup.open(core, owner).remove(60)
    core.remove()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A process born inside a cgroup."""
    born: list[subprocess.Popen[bytes]] = []

    def spawn(group: Cgroup, script: str) -> subprocess.Popen[bytes]:
        joins = "".join(f"echo $$ > {path}/cgroup.procs;" for path in map(str, group.paths()))
        born.append(subprocess.Popen(["sh", "-c", joins + script], stdout=subprocess.PIPE))
        assert born[-1].stdout is not None
        assert born[-1].stdout.readline() == b"up\n"
        return born[-1]

    yield spawn
    for popen in born:
        popen.kill()
        popen.wait()
        assert popen.stdout is not None
        popen.stdout.close()


Spawn = Callable[..., subprocess.Popen[bytes]]


def test_limits_are_what_the_kernel_shows(machine: Hierarchy) -> None:
    limits = Resources(memory=64 * MB, cpus=0.5, cpuset_cpus="0", pids_limit=7)
    group = Cgroup.create(machine, "a" * 64, limits)
    stats = group.stats()
    assert (stats.memory_limit, stats.pids_limit) == (64 * MB, 7)
    shown = {p.name: p.read_text().strip() for d in group.paths() for p in d.glob("cpu*") if p.stat().st_mode & 0o400}
    assert shown["cpuset.cpus"] == "0"
    assert shown.get("cpu.cfs_quota_us") == "50000" or shown.get("cpu.max") == "50000 100000"
    for memory in (256 * MB, 8 * MB, None):
        group.update(Resources(memory=memory))
        assert group.stats().memory_limit == memory
    assert machine.owners() == {"a" * 64}
    assert group.remove() and group.remove()
    assert machine.owners() == set()


def test_cpus_that_this_machine_lacks(machine: Hierarchy) -> None:
    with pytest.raises(UserError, match="Requested CPUs are not available"):
        Cgroup.create(machine, "a", Resources(cpuset_cpus="0-4095"))
    assert machine.owners() == set()


def test_a_crash_in_the_middle_of_making_it_is_made_good(machine: Hierarchy, spawn: Spawn) -> None:
    for _, mount in machine.v1:
        (mount / machine.name / "a").mkdir(parents=True, exist_ok=True)
    spawn(Cgroup.create(machine, "a", Resources()), "echo up; exec sleep 1000")


def test_remove_kills_what_is_left(either: Hierarchy, spawn: Spawn) -> None:
    group = Cgroup.create(either, "a", Resources())
    popen = spawn(group, "sleep 1000 & sleep 1000 & echo up; wait")
    assert popen.pid in group.pids() and len(group.pids()) == 3
    assert group.remove(60)
    assert popen.wait(PATIENCE) == -signal.SIGKILL
    assert not any(path.exists() for path in group.paths())
    assert group.pids() == set()


def test_remove_takes_sub_groups_along(either: Hierarchy, spawn: Spawn) -> None:
    group = Cgroup.create(either, "a", Resources())
    top = group.paths()[0]
    (top / "inner/deeper").mkdir(parents=True)
    popen = spawn(group, f"sleep 1000 & echo $! > {top}/inner/deeper/cgroup.procs; echo up; wait")
    assert len(group.pids()) == 2
    assert group.remove(60)
    assert popen.wait(PATIENCE) == -signal.SIGKILL


def test_a_fork_bomb_is_killed(machine: Hierarchy, spawn: Spawn) -> None:
    group = Cgroup.create(machine, "a", Resources(pids_limit=40))
    spawn(group, "echo up; bomb() { bomb & bomb & }; bomb 2>/dev/null; while :; do bomb 2>/dev/null; sleep 0.01; done")
    assert group.remove(60)


def test_freeze_and_thaw(either: Hierarchy, spawn: Spawn) -> None:
    group = Cgroup.create(either, "a", Resources())
    popen = spawn(group, "echo up; while :; do echo tick; sleep 0.01; done")
    assert popen.stdout is not None
    group.freeze()
    said = popen.stdout.fileno()
    while select.select([said], [], [], 0.2)[0]:
        assert os.read(said, 65536).count(b"\n") < 1000
    group.freeze()
    group.thaw()
    assert select.select([said], [], [], PATIENCE)[0]
    group.freeze()
    group.kill()
    assert popen.wait(PATIENCE) == -signal.SIGKILL
    assert group.remove(60)


def test_the_kernel_s_killing_for_want_of_memory_is_counted(machine: Hierarchy, spawn: Spawn) -> None:
    group = Cgroup.create(machine, "a", Resources(memory=16 * MB, memory_swap=16 * MB))
    assert group.oom_kills() == 0
    popen = spawn(group, "echo up; exec python3 -c 'x = bytearray(200 << 20)'")
    assert popen.wait(PATIENCE) == -signal.SIGKILL
    assert group.oom_kills() == group.stats().oom_kills > 0
    assert 0 < group.stats().memory_peak <= 16 * MB
    assert group.stats().cpu_ns > 0


RULES = (*cgroup_devices.DEFAULT, Rule("c", 1, 11, "r"))


@pytest.mark.parametrize(
    ("node", "access", "allowed"),
    [
        ("1 3", "rw", True),  # null
        ("1 11", "r", True),  # kmsg, as the rule says
        ("1 11", "w", False),
        ("1 11", "rw", False),
        ("1 1", "r", False),  # mem
        ("1 4", "r", False),  # port
        ("1 9", "rw", True),  # urandom
    ],
)
def test_devices_by_number(
    either: Hierarchy, spawn: Spawn, tmp_path: Path, node: str, access: str, allowed: bool
) -> None:
    """The node may be made, whatever it is; opening it is another thing.  (Debian 13's /tmp is mounted nodev.)"""
    if either.v1 and "devices" not in dict(either.v1):
        pytest.skip("this machine has no devices controller")
    group = Cgroup.create(either, "a", Resources(), RULES)
    how = {"r": "<", "w": ">>", "rw": "<>"}[access]
    made = f"mount -t tmpfs nodes {tmp_path} && mknod {tmp_path}/node c {node} && test -c {tmp_path}/node && echo made"
    script = f"{made}; (exec 9{how}{tmp_path}/node) && echo open || echo shut"
    popen = spawn(group, f"echo up; exec unshare --mount sh -c '{script}'")
    assert popen.stdout is not None
    assert popen.stdout.readline() == b"made\n"
    assert popen.stdout.readline() == (b"open\n" if allowed else b"shut\n")
