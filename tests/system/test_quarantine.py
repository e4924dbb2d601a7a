"""What cannot be torn down is put aside with its reason, blocks nobody, and goes as soon as it can."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually
from tests.system.cgroups import directories
from tests.system.test_faults import running

__all__ = ["running"]


def events_of(lab: Lab, kind: str) -> list[dict[str, object]]:
    lines = lab.hawse("events", "--since", "1h", "--until", "0s", "--format", "json").out.splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == kind]


def test_a_process_that_will_not_die(running: tuple[Lab, int]) -> None:
    """It lives outside the lab's pid namespace: to the daemon it has no pid, as one in uninterruptible sleep has no ear."""
    lab, _ = running
    lab.daemon.terminate()
    (lab.state / "hawse.toml").write_text("audit_interval = 0.5\n")
    lab.daemon.start()
    box = lab.inspect("box")["Id"]
    group = directories(lab, box, "pids")[0]
    if not group.is_dir():
        pytest.skip("cgroup.kill of cgroup v2 reaches processes without a pid, too")
    with subprocess.Popen(["sleep", "1000"]) as stubborn:
        try:
            (group / "cgroup.procs").write_text(str(stubborn.pid))
            refused = lab.hawse("rm", "-f", "box", check=False)
            assert refused.code != 0
            assert "do not die" in refused.err
            assert lab.inspect("box")["State"]["Status"] == "dead"
            assert "do not die" in lab.inspect("box")["State"]["Error"]
            lab.hawse("run", "--rm", "busybox", "true")
            eventually(lambda: lab.daemon.log.count("repair_failed") > 1)
            assert stubborn.poll() is None
        finally:
            stubborn.kill()
    eventually(lambda: not os.path.exists(group))
    eventually(lambda: lab.hawse("inspect", "box", check=False).code != 0)
    assert len(events_of(lab, "container.quarantined")) == 1
    assert len([e for e in events_of(lab, "container.removed") if e["subject"] == f"container/{box}"]) == 1
