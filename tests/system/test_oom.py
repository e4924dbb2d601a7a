"""Out of memory is told when it happens, whoever was killed: the first process, a child, an exec; and once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

GLUTTON = "dd if=/dev/zero of=/dev/null bs=200M count=1"
LIMIT = ("-m", "32m", "--memory-swap", "32m")


def told(lab: Lab, *types: str) -> list[str]:
    """Of the container that is called box now: the lab's journal has earlier ones."""
    only = f"--filter=container={lab.inspect('box')['Id']}"
    shown = lab.hawse("events", "--no-follow", "--format", "json", only)
    return [found for line in shown.out.splitlines() if (found := json.loads(line)["type"]) in types]


def test_a_child_s_is_told_at_once(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", *LIMIT, "busybox", "sh", "-c", f"sleep 2; {GLUTTON}; sleep 1000")
    eventually(lambda: len(told(lab, "container.oom")) == 1)
    state = lab.inspect("box")["State"]
    assert (state["Running"], state["OOMKilled"]) == (True, True)
    lab.hawse("stop", "-t", "0", "box")
    assert lab.inspect("box")["State"]["OOMKilled"] is True
    assert len(told(lab, "container.oom")) == 1, "not once more at the end"
    lab.hawse("start", "box")
    assert lab.inspect("box")["State"]["OOMKilled"] is False
    lab.hawse("rm", "-f", "box")


def test_an_exec_s_is_told_at_once(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", *LIMIT, "busybox", "sleep", "1000")
    assert lab.hawse("exec", "box", *GLUTTON.split(), check=False).code == 137
    eventually(lambda: len(told(lab, "container.oom")) == 1)
    lab.hawse("rm", "-f", "box")


def test_that_of_the_first_process_is_told_before_its_end(lab: Lab) -> None:
    assert lab.hawse("run", "--name", "box", *LIMIT, "busybox", *GLUTTON.split(), check=False).code == 137
    assert told(lab, "container.oom", "container.exited") == ["container.oom", "container.exited"]
    lab.hawse("rm", "box")


def memory_file(lab: Lab, identifier: str) -> str:
    top = Path("/sys/fs/cgroup")
    v1 = top / f"memory/hawse_{lab.instance}/{identifier}/memory.oom_control"
    return (v1 if v1.exists() else top / f"hawse_{lab.instance}/{identifier}/memory.events").read_text()


@pytest.mark.parametrize("end", ["sleep 1000", "exit 3"], ids=["alive", "ended"])
def test_what_happens_while_no_daemon_is_there_is_told_by_the_next(lab: Lab, end: str) -> None:
    """Once: what the last one has told is not told again."""
    script = f"sleep 3; {GLUTTON}; {end}"
    identifier = lab.hawse("run", "-d", "--name", "box", *LIMIT, "busybox", "sh", "-c", script).out.strip()
    lab.daemon.kill9()
    eventually(lambda: "oom_kill 1" in memory_file(lab, identifier))
    lab.daemon.start()
    eventually(lambda: len(told(lab, "container.oom")) == 1)
    lab.daemon.kill9()
    lab.daemon.start()
    assert len(told(lab, "container.oom")) == 1
    lab.hawse("rm", "-f", "box")


def test_nobody_is_killed_where_that_was_asked_for(lab: Lab) -> None:
    """v1: who needs memory waits, and it is told.  v2 cannot, and says so."""
    flags = ("--oom-kill-disable", "--memory-swappiness", "0", "--cpuset-mems", "0")
    begun = lab.hawse("run", "-d", "--name", "box", *flags, *LIMIT, "busybox", "sh", "-c", f"{GLUTTON}; exit 3")
    host = lab.inspect("box")["HostConfig"]
    assert host["CpusetMems"] == "0"
    if not (Path("/sys/fs/cgroup/memory") / f"hawse_{lab.instance}").exists():
        assert "Memory swappiness discarded." in begun.err and "OomKillDisable discarded." in begun.err
        assert (host["MemorySwappiness"], host["OomKillDisable"]) == (None, False)
        assert lab.hawse("wait", "box").out == "3\n"  # the child was killed, the shell went on
    else:
        assert (host["MemorySwappiness"], host["OomKillDisable"]) == (0, True) and not begun.err
        eventually(lambda: len(told(lab, "container.oom")) == 1)
        assert lab.inspect("box")["State"]["Running"] is True
        lab.hawse("update", "-m", "400m", "--memory-swap", "400m", "box")
        assert lab.hawse("wait", "box").out == "3\n", "with more memory it goes on"
    lab.hawse("rm", "-f", "box")
