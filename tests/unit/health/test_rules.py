"""What a health check's results mean."""

from __future__ import annotations

import socket

import pytest
from msgspec.structs import replace

from hawse.supervisor.core.health import History, Result
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, Healthcheck, State
from hawse.supervisor.health import keeper, rules

S = 1_000_000_000


def container(**check: int) -> Container:
    return Container(
        id=ContainerId("0" * 64),
        name="app",
        config=ContainerConfig(healthcheck=Healthcheck(test=("CMD-SHELL", "true"), **check)),
        state=State.RUNNING,
        created_at=0,
        started_at=100 * S,
        health=rules.STARTING,
    )


def told(it: Container, codes: list[int], *, at: int = 200 * S) -> tuple[list[str], History]:
    history, statuses = History(), []
    for code in codes:
        verdict, history = rules.judge(it, history, Result(started_at=at, ended_at=at, code=code))
        it = replace(it, health=verdict)
        statuses.append(verdict)
    return statuses, history


@pytest.mark.parametrize(
    ("codes", "statuses"),
    [
        ([0], ["healthy"]),
        ([1, 1, 1], ["starting", "starting", "unhealthy"]),
        ([1, 1, 0, 1, 1], ["starting", "starting", "healthy", "healthy", "healthy"]),
        ([0, -1, 1, 137, 0], ["healthy", "healthy", "healthy", "unhealthy", "healthy"]),
    ],
)
def test_three_failures_in_a_row(codes: list[int], statuses: list[str]) -> None:
    assert told(container(), codes)[0] == statuses


def test_failures_of_the_start_period_count_only_after_a_success() -> None:
    it = container(start_period=10 * S, retries=1)
    assert told(it, [1, 1], at=105 * S) == (
        ["starting", "starting"],
        History(results=(Result(started_at=105 * S, ended_at=105 * S, code=1),) * 2),
    )
    assert told(it, [1, 0, 1], at=105 * S)[0] == ["starting", "healthy", "unhealthy"]
    assert told(it, [1], at=110 * S)[0] == ["unhealthy"]
    assert told(it, [1], at=99 * S)[0] == ["unhealthy"]  # the clock was set back


def test_the_last_five_are_kept() -> None:
    history = told(container(), [0, 1, 2, 3, 4, 5, 6])[1]
    assert [r.code for r in history.results] == [2, 3, 4, 5, 6] and history.failing == 6


def test_pauses() -> None:
    it = container(interval=7 * S, start_period=10 * S, start_interval=2 * S)
    assert rules.pause(it, 105 * S) == 2 * S
    assert rules.pause(replace(it, health="healthy"), 105 * S) == 7 * S
    assert rules.pause(it, 111 * S) == 7 * S
    assert rules.pause(container(), 105 * S) == 30 * S


def test_the_program() -> None:
    assert rules.argv(Healthcheck(test=("CMD", "a", "b"))) == ("a", "b")
    assert rules.argv(Healthcheck(test=("CMD-SHELL", "a b"))) == ("/bin/sh", "-c", "a b")
    assert rules.argv(Healthcheck(test=("NONE",))) == ()


async def test_of_its_output_the_beginning_is_kept() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(b"x" * 50_000)
        theirs.shutdown(socket.SHUT_WR)
        assert await keeper._read(ours) == b"x" * rules.MOST_OUTPUT
