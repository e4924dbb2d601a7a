"""The names of capabilities stand twice, since what runs after the fork imports nothing of core/."""

from __future__ import annotations

from hawse.supervisor.core.capabilities import ALL_CAPABILITIES
from hawse.supervisor.linux.capabilities import NAMES


def test_both_sides_of_the_fork_know_the_same_capabilities() -> None:
    assert ALL_CAPABILITIES == NAMES
