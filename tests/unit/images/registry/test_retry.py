"""When a registry is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hawse.supervisor.images.registry import retry
from hawse.supervisor.images.registry.retry import PATIENT, PROGRESS, Patience

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def delays(patience: Patience) -> list[float]:
    found = []
    while (delay := patience.delay(NOW)) is not None:
        found.append(delay)
    return found


def test_each_wait_is_twice_the_one_before() -> None:
    assert delays(Patience()) == [0.2, 0.4, 0.8, 1.6]
    assert delays(Patience(PATIENT)) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


def test_progress_begins_the_count_anew() -> None:
    patience = Patience()
    for _ in range(100):
        assert patience.delay(NOW) == 0.2
        for _ in range(2):
            patience.brought(PROGRESS // 2)
    patience.brought(PROGRESS - 1)
    assert len(delays(patience)) == 4


def test_what_the_registry_asks_for() -> None:
    assert Patience().delay(NOW, "7") == 7
    assert Patience().delay(NOW, "0") == 0.2
    assert Patience().delay(NOW, "Fri, 02 Jan 2026 03:04:15 GMT") == 10
    assert Patience().delay(NOW, "61") is None
    assert Patience().delay(NOW, "soon") == 0.2
    assert Patience(1).delay(NOW, "1") is None


@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "²", "Fri, 99 Jan 2026 03:04:15 GMT", "\n"])
def test_a_retry_after_that_says_nothing(text: str) -> None:
    assert retry.seconds(text, NOW) is None


def test_a_date_that_is_past() -> None:
    past = (NOW - timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry.seconds(past, NOW) == 0


def test_which_statuses_pass() -> None:
    assert [status for status in range(400, 600) if retry.is_passing(status)] == [408, 425, 429, 500, 502, 503, 504]
