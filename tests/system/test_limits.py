"""Limits hold, their breach is recorded, and one container's cgroup is nobody else's."""

from __future__ import annotations

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from tests.system.cgroups import setting


def test_too_much_memory_is_death_and_recorded(lab: Lab) -> None:
    shown = lab.hawse(
        "run",
        "--name",
        "glutton",
        "-m",
        "32m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=200M",
        "count=1",
        check=False,
    )
    assert shown.code == 137
    state = lab.inspect("glutton")["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    lab.hawse("rm", "glutton")


def test_being_killed_is_not_oom(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "modest", "-m", "32m", "busybox", "sleep", "100")
    lab.hawse("kill", "modest")
    eventually(lambda: lab.inspect("modest")["State"]["Status"] == "exited")
    assert lab.inspect("modest")["State"]["OOMKilled"] is False
    lab.hawse("rm", "modest")


def test_the_number_of_processes(lab: Lab) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all"
    shown = lab.hawse("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script, check=False)
    assert "can't fork" in shown.err
    assert "all" not in shown.out


LIMITS = [
    ("-m 64m", "memory/memory.limit_in_bytes", "memory.max", {"67108864"}),
    ("-m 64m --memory-swap 96m", "memory/memory.memsw.limit_in_bytes", "memory.swap.max", {"100663296", "33554432"}),
    ("--memory-reservation 32m", "memory/memory.soft_limit_in_bytes", "memory.low", {"33554432"}),
    ("--cpus 0.5", "cpu/cpu.cfs_quota_us", "cpu.max", {"50000", "50000 100000"}),
    ("--cpu-quota 20000", "cpu/cpu.cfs_quota_us", "cpu.max", {"20000", "20000 100000"}),
    ("--cpu-shares 512", "cpu/cpu.shares", "cpu.weight", {"512", "20"}),
    ("--cpuset-cpus 0", "cpuset/cpuset.cpus", "cpuset.cpus", {"0"}),
    ("--pids-limit 77", "pids/pids.max", "pids.max", {"77"}),
]


@pytest.mark.parametrize(("flags", "v1", "v2", "shown"), LIMITS, ids=[row[0] for row in LIMITS])
def test_the_kernel_is_told(lab: Lab, flags: str, v1: str, v2: str, shown: set[str]) -> None:
    """By `run`, and by `update` of one that was made without."""
    given = lab.hawse("run", "-d", *flags.split(), "busybox", "sleep", "100").out.strip()
    later = lab.hawse("run", "-d", "busybox", "sleep", "100").out.strip()
    assert setting(lab, later, v1, v2) not in shown
    lab.hawse("update", *flags.split(), later)
    for identifier in (given, later):
        assert setting(lab, identifier, v1, v2) in shown
        assert str(lab.inspect(identifier)["State"]["Pid"]) in setting(
            lab, identifier, v1.split("/")[0] + "/cgroup.procs", "cgroup.procs"
        )
    lab.hawse("restart", "-t", "0", later)
    assert setting(lab, later, v1, v2) in shown, "kept for the next start"
    lab.hawse("rm", "-f", given, later)


@pytest.mark.parametrize("verb", ["run", "update"])
def test_quota_and_period(lab: Lab, verb: str) -> None:
    flags = ("--cpu-quota", "10000", "--cpu-period", "50000")
    identifier = lab.hawse("run", "-d", *(flags if verb == "run" else ()), "busybox", "sleep", "100").out.strip()
    if verb == "update":
        lab.hawse("update", *flags, identifier)
    told = setting(lab, identifier, "cpu/cpu.cfs_quota_us", "cpu.max").split()
    told += [] if len(told) == 2 else [setting(lab, identifier, "cpu/cpu.cfs_period_us", "")]
    assert told == ["10000", "50000"]
    shown = lab.inspect(identifier)["HostConfig"]
    assert (shown["CpuQuota"], shown["CpuPeriod"], shown["NanoCpus"]) == (10000, 50000, 0)
    lab.hawse("rm", "-f", identifier)


def test_an_exec_is_in_the_same_limits(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "tight", "-m", "32m", "busybox", "sleep", "100")
    shown = lab.hawse("exec", "tight", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", check=False)
    assert shown.code == 137
    lab.hawse("rm", "-f", "tight")


def test_half_a_cpu_is_half_a_cpu(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "spinner", "--cpus", "0.2", "busybox", "sh", "-c", "while :; do :; done")
    identifier = lab.inspect("spinner")["Id"]

    def throttled() -> bool:
        told = setting(lab, identifier, "cpu/cpu.stat", "cpu.stat")
        return int(told.partition("nr_throttled ")[2].split()[0]) > 2

    eventually(throttled)
    lab.hawse("rm", "-f", "spinner")


def test_an_update_that_a_crash_cuts_off_has_not_been(lab: Lab) -> None:
    """Record and kernel agree afterwards, for one that had no limit and for one that had."""
    for name, given, limit in (("free", (), "9223372036854771712 max"), ("bound", ("-m", "64m"), "67108864")):
        identifier = lab.hawse("run", "-d", "--name", name, *given, "busybox", "sleep", "1000").out.strip()
        lab.daemon.kill9()
        lab.daemon.start(env={"HAWSE_FAULT": "update.limited"})
        assert lab.hawse("update", "-m", "96m", "--memory-swap", "96m", name, check=False).code != 0
        lab.daemon.wait_dead()
        assert setting(lab, identifier, "memory/memory.limit_in_bytes", "memory.max") == str(96 << 20)
        lab.daemon.start()
        assert setting(lab, identifier, "memory/memory.limit_in_bytes", "memory.max") in limit.split()
        assert lab.inspect(name)["HostConfig"]["Memory"] == (64 << 20 if given else 0)
        lab.hawse("rm", "-f", name)
