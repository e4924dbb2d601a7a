"""A daemon that dies while it removes a container: the volumes go that were to go, and no others."""

from __future__ import annotations

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually


@pytest.mark.parametrize(
    ("flag", "point"),
    [
        *((flag, point) for flag in ("", "-v") for point in ("remove.requested", "remove.durable", "remove.forgotten")),
        ("-v", "volume.moved"),
    ],
)
def test_a_removal_is_finished_as_it_was_asked_for(lab: Lab, flag: str, point: str) -> None:
    box = lab.hawse("run", "-v", "/own", "--name", "box", "busybox", "sh", "-c", "echo precious > /own/data").out
    assert not box
    (volume,) = lab.hawse("volume", "ls", "-q").out.split()
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": point})
    assert lab.hawse("rm", *([flag] if flag else []), "box", check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    eventually(lambda: not lab.hawse("ps", "-aq").out)
    if flag:
        assert not lab.hawse("volume", "ls", "-q").out
        return
    assert lab.hawse("run", "--rm", "-v", f"{volume}:/own", "busybox", "cat", "/own/data").out == "precious\n"
    lab.hawse("volume", "rm", volume)


def test_a_volume_whose_removal_was_not_committed_has_its_files(lab: Lab) -> None:
    """It was moved aside in the transaction, and the next daemon emptied the trash."""
    lab.hawse("run", "--rm", "-v", "hold:/own", "busybox", "sh", "-c", "echo precious > /own/data")
    lab.daemon.kill9()
    lab.daemon.start(env={"HAWSE_FAULT": "volume.moved"})
    assert lab.hawse("volume", "rm", "hold", check=False).code != 0
    lab.daemon.wait_dead()
    lab.daemon.start()
    assert lab.hawse("run", "--rm", "-v", "hold:/own", "busybox", "cat", "/own/data").out == "precious\n"
    lab.hawse("volume", "rm", "hold")
