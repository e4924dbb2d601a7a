"""A host that has cgroup v2 and nothing else.

Where the machine's controllers are bound to v1, v2 is there without any: what needs no controller is tried for real (a
container born in its group, killed, frozen and accounted through it), and limits are refused in docker's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

ONLY_V2 = """
unified=$(awk '$3 == "cgroup2" {path = $2} END {print path}' /proc/mounts)
mkdir /run/cgroup2 && mount --bind "$unified" /run/cgroup2
while mountpoint -q /sys; do umount --lazy /sys; done
mount -t sysfs sysfs /sys && mount --bind /run/cgroup2 /sys/fs/cgroup
umount /run/cgroup2 && rmdir /run/cgroup2
"""


@pytest.fixture
def v2() -> Iterator[Lab]:
    with Lab() as lab:
        lab.run(["sh", "-ec", ONLY_V2])  # in the lab's own mount namespace
        lab.daemon.start()
        lab.hawse("image", "import", busybox_tar(), "busybox")
        lab.hawse("run", "--rm", "busybox", "true")  # makes the default network
        before = lab.settled()
        yield lab
        assert lab.leaks(before) == []


def group(lab: Lab, ref: str) -> Path:
    return lab.inside / f"sys/fs/cgroup/hawse_{lab.instance}" / str(lab.inspect(ref)["Id"])


def test_a_container_lives_in_its_group(v2: Lab) -> None:
    assert json.loads(v2.hawse("info", "--format", "{{json .CgroupVersion}}").out) == "2"
    v2.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", "while :; do :; done")
    there = group(v2, "box")
    eventually(lambda: (there / "cgroup.procs").read_text() != "")
    seen = v2.hawse("exec", "box", "grep", "-h", "^0:", "/proc/1/cgroup", "/proc/self/cgroup").out
    assert seen == "0::/\n0::/\n", "in the container's own view its group is the root"
    v2.hawse("pause", "box")
    assert "frozen 1" in (there / "cgroup.events").read_text()
    v2.hawse("unpause", "box")
    eventually(lambda: "frozen 0" in (there / "cgroup.events").read_text())  # once its processes have run again
    stats = json.loads(v2.daemon.request("GET", "/containers/box/stats?stream=0&one-shot=1")[1])
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    v2.hawse("rm", "-f", "box")
    assert not there.exists()


def test_what_a_dead_shim_leaves_is_killed_through_the_group(v2: Lab) -> None:
    v2.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", "setsid sleep 1000 & setsid sleep 1001 & wait")
    there = group(v2, "box")
    eventually(lambda: len((there / "cgroup.procs").read_text().split()) == 3)
    shim = json.loads(v2.daemon.request("GET", "/hawse/v1/containers/box")[1])["container"]["shim"]["pid"]
    v2.run(["kill", "-9", str(shim)])
    eventually(lambda: v2.inspect("box")["State"]["Status"] == "exited")
    eventually(lambda: not there.exists())
    v2.hawse("rm", "box")


def test_limits_without_their_controllers_are_refused(v2: Lab) -> None:
    controllers = (v2.inside / "sys/fs/cgroup/cgroup.controllers").read_text().split()
    if "memory" in controllers:
        pytest.skip("this machine has the controllers on v2")
    refused = v2.hawse("run", "--rm", "-m", "64m", "busybox", "true", check=False)
    assert refused.code == 125
    assert "does not support the memory limit" in refused.err
    assert v2.hawse("ps", "-aq").out == ""
