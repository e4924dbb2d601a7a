"""Signals that ask the daemon for something and end nothing: SIGHUP, SIGUSR1, SIGUSR2; and SIGPIPE."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


def lines(lab: Lab, event: str) -> list[dict[str, Any]]:
    """Of the log, those with that event."""
    return [line for text in lab.daemon.log.splitlines() if f'"{event}"' in text and (line := json.loads(text))]


@pytest.fixture
def config(bare_lab: Lab) -> Path:
    file = bare_lab.share / "hawse.toml"
    file.write_text('log_level = "info"\n')
    bare_lab.daemon.start(f"--config={file}")
    return file


def hang_up(lab: Lab, answer: str) -> dict[str, Any]:
    """The line of the log that answers."""
    before = len(lines(lab, answer))
    os.kill(lab.daemon.pid, signal.SIGHUP)
    eventually(lambda: len(lines(lab, answer)) > before)
    return lines(lab, answer)[-1]


def test_the_configuration_is_read_again(bare_lab: Lab, config: Path) -> None:
    config.write_text('log_level = "debug"\naddress_pools = ["10.77.0.0/16"]\nsubid_base = 3000000\n')
    told = hang_up(bare_lab, "configuration_reloaded")
    assert told["changed"] == {"log_level": "debug", "address_pools": ["10.77.0.0/16"]}
    assert lines(bare_lab, "configuration_needs_restart")[0]["keys"] == ["subid_base"]
    bare_lab.hawse("network", "create", "net")
    subnet = json.loads(bare_lab.hawse("network", "inspect", "net").out)[0]["IPAM"]["Config"][0]["Subnet"]
    assert subnet == "10.77.0.0/24"
    bare_lab.hawse("network", "rm", "net")


def test_a_bad_file_changes_nothing(bare_lab: Lab, config: Path) -> None:
    config.write_text('address_pools = ["10.77.0.0/16"]\naudit_interval = "often"\n')
    told = hang_up(bare_lab, "configuration_not_reloaded")
    assert "audit_interval = 'often' is not valid" in told["error"]
    bare_lab.hawse("network", "create", "net")
    assert '"10.77.' not in bare_lab.hawse("network", "inspect", "net").out
    bare_lab.hawse("network", "rm", "net")


def test_stacks_are_written(bare_lab: Lab, config: Path) -> None:
    os.kill(bare_lab.daemon.pid, signal.SIGUSR1)
    eventually(lambda: any("hooks.py" in str(line["stack"]) for line in lines(bare_lab, "tasks_wait")))
    told = lines(bare_lab, "tasks_wait")
    assert any("_daemon: await engine.told_to_end.wait()" in str(line["stack"]) for line in told)
    assert "(most recent call first)" in bare_lab.daemon.log, "of the threads"


def test_nothing_of_it_ends_the_daemon_in_any_part_of_its_life(bare_lab: Lab) -> None:
    """From the first instant that it can be found to its end by itself: the exit code is that of SIGTERM."""
    daemon = bare_lab.daemon
    daemon.launch()
    eventually(lambda: is_ours(bare_lab))
    pid = pid_of(bare_lab)

    def poked(condition: Callable[[], bool]) -> bool:
        for number in HARMLESS:
            os.kill(pid, number)
        return condition()

    eventually(lambda: poked(daemon.answers))
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: poked(lambda: daemon.ended is not None))
    assert daemon.ended == 0


def pid_of(lab: Lab) -> int:
    assert lab.daemon._process is not None
    return lab.daemon._process.pid


def is_ours(lab: Lab) -> bool:
    """The program that was started is the daemon by now, no longer nsenter or the command line."""
    return b"hawse.supervisor" in Path(f"/proc/{pid_of(lab)}/cmdline").read_bytes()
