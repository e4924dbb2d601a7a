"""Health checks: the program runs in the container, and what it says shows in inspect, ps and the events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.waiting import eventually

EVERY = ("--health-interval", "100ms")
IDLE = ("sleep", "1000")


@pytest.fixture
def checked(lab: Lab) -> Iterator[Lab]:
    """The test's containers are named `app`."""
    yield lab
    lab.hawse("rm", "-f", "app")


def run(lab: Lab, *flags: str) -> None:
    lab.hawse("run", "-d", "--name", "app", *flags, "busybox", *IDLE)


def health(lab: Lab) -> dict[str, Any]:
    shown = lab.inspect("app")["State"]["Health"]
    assert isinstance(shown, dict)
    return shown


def status(lab: Lab) -> str:
    return str(health(lab)["Status"])


def told(lab: Lab) -> list[str]:
    """The statuses that the event stream has told of."""
    container = lab.inspect("app")["Id"]
    lines = lab.hawse("events", "--since", "1h", "--until", "0s", "--format", "json").out.splitlines()
    events = [json.loads(line) for line in lines]
    return [
        e["data"]["status"]
        for e in events
        if e["type"] == "container.health" and e["subject"] == f"container/{container}"
    ]


def test_from_starting_to_healthy_to_unhealthy_and_back(checked: Lab) -> None:
    # Within the start period failures do not count, so it stays "starting" for as long as a busy machine needs to look.
    starting = ("--health-start-period", "1h", "--health-start-interval", "100ms")
    run(checked, "--health-cmd", "echo looked; test -e /well", *EVERY, *starting, "--health-retries", "2")
    assert status(checked) == "starting"
    assert "(health: starting)" in checked.hawse("ps").out
    checked.hawse("exec", "app", "touch", "/well")
    eventually(lambda: status(checked) == "healthy")
    assert "(healthy)" in checked.hawse("ps").out
    assert checked.hawse("ps", "-q", "--filter", "health=healthy").out
    checked.hawse("exec", "app", "rm", "/well")
    eventually(lambda: status(checked) == "unhealthy")
    shown = eventually(lambda: now if (now := health(checked))["FailingStreak"] >= 2 else None)
    assert shown is not None and 2 <= len(shown["Log"]) <= 5
    assert shown["Log"][-1]["ExitCode"] == 1 and shown["Log"][-1]["Output"] == "looked\n"
    checked.hawse("exec", "app", "touch", "/well")
    eventually(lambda: status(checked) == "healthy")
    eventually(lambda: health(checked)["FailingStreak"] == 0)
    assert told(checked)[-3:] == ["healthy", "unhealthy", "healthy"]


def test_a_check_that_takes_too_long_is_killed(checked: Lab) -> None:
    run(checked, "--health-cmd", "sleep 777", *EVERY, "--health-timeout", "100ms", "--health-retries", "1")
    eventually(lambda: status(checked) == "unhealthy")
    last = health(checked)["Log"][0]
    assert last["ExitCode"] == -1 and last["Output"] == "Health check exceeded timeout (0.1s)"
    checked.hawse("stop", "-t", "0", "app")
    assert "(unhealthy)" not in checked.hawse("ps", "-a").out


def test_failures_of_the_start_period_do_not_count(checked: Lab) -> None:
    flags = ("--health-start-period", "1h", "--health-start-interval", "50ms", "--health-retries", "1")
    run(checked, "--health-cmd", "test -e /well", "--health-interval", "1h", *flags)
    eventually(lambda: len(health(checked)["Log"]) >= 3)
    assert status(checked) == "starting" and health(checked)["FailingStreak"] == 0
    checked.hawse("exec", "app", "touch", "/well")
    eventually(lambda: status(checked) == "healthy")


def test_a_check_that_does_not_exist_fails(checked: Lab) -> None:
    body = {
        "Image": "busybox",
        "Cmd": list(IDLE),
        "Healthcheck": {"Test": ["CMD", "/no/such"], "Interval": 50_000_000, "Retries": 1},
    }
    made, _ = checked.daemon.request("POST", "/containers/create?name=app", body)
    assert made == 201
    checked.hawse("start", "app")
    eventually(lambda: status(checked) == "unhealthy")
    assert "/no/such" in health(checked)["Log"][-1]["Output"]


def test_checks_go_on_with_the_next_daemon_and_with_the_next_start(checked: Lab) -> None:
    run(checked, "--health-cmd", "test -e /well", *EVERY, "--health-retries", "1")
    eventually(lambda: status(checked) == "unhealthy")
    checked.daemon.kill9()
    checked.daemon.start()
    assert status(checked) == "unhealthy"
    eventually(lambda: health(checked)["FailingStreak"] >= 1)  # the history is written a moment after the verdict
    checked.hawse("exec", "app", "touch", "/well")
    eventually(lambda: status(checked) == "healthy")
    checked.hawse("restart", "-t", "0", "app")
    eventually(lambda: status(checked) == "healthy" and len(health(checked)["Log"]) >= 1)
    checked.hawse("wait", "--for", "healthy", "app")


def test_without_a_check_there_is_no_health(checked: Lab) -> None:
    run(checked, "--no-healthcheck")
    assert "Health" not in checked.inspect("app")["State"]
