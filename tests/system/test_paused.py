"""A container that stands still is ended like any other, and what is shown as paused does stand still."""

from __future__ import annotations

import subprocess

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from tests.system.cgroups import frozen

GRACE = str(round(PATIENCE / 20))
"""Seconds of a stop, in which something else can happen before the end."""
TICKS = ("sh", "-c", "trap '' TERM; while :; do date +%N > /tick; sleep 0.02; done")


def run(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "--network", "none", "busybox", *TICKS)


def state(lab: Lab) -> str:
    return str(lab.inspect("box")["State"]["Status"])


def test_a_paused_container_is_killed(lab: Lab) -> None:
    run(lab)
    lab.hawse("pause", "box")
    lab.hawse("kill", "box")
    eventually(lambda: state(lab) == "exited")
    assert lab.inspect("box")["State"]["ExitCode"] == 137
    lab.hawse("rm", "box")


def test_one_that_is_paused_while_it_is_being_stopped_is_stopped(lab: Lab) -> None:
    run(lab)
    stopping = lab.popen(["hawse", "stop", "-t", GRACE, "box"], stderr=subprocess.DEVNULL)
    eventually(lambda: lab.hawse("events", "--no-follow", "-f", "event=kill", "-f", "container=box").out)
    lab.hawse("pause", "box")
    assert stopping.wait(PATIENCE) == 0
    assert state(lab) == "exited"
    lab.hawse("rm", "box")


@pytest.mark.parametrize(
    ("verb", "point", "shown"),
    [("pause", "pause.frozen", "running"), ("unpause", "unpause.thawed", "paused")],
)
def test_a_daemon_that_dies_in_between_is_told_the_truth_by_the_next(
    lab: Lab, verb: str, point: str, shown: str
) -> None:
    """The record counts: what was not written down is taken back."""
    run(lab)
    if verb == "unpause":
        lab.hawse("pause", "box")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    assert lab.hawse(verb, "box", check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    assert state(lab) == shown and frozen(lab, "box") == (shown == "paused")
    lab.hawse(verb, "box")
    lab.hawse("rm", "-f", "box")
