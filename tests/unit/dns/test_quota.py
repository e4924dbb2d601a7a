"""One asker's share of the name server, and whose turn it is."""

from __future__ import annotations

import pytest

from hawse.supervisor.dns import quota
from hawse.supervisor.dns.backlog import Backlog
from hawse.supervisor.dns.quota import Places, Rate


def taken(rate: Rate, asker: str, now: float) -> int:
    """How many it may have now."""
    count = 0
    while rate.take(asker, now):
        count += 1
    return count


def test_a_burst_and_then_so_many_a_second() -> None:
    rate = Rate(per_second=100, burst=20)
    assert taken(rate, "loud", 0) == 20
    assert taken(rate, "quiet", 0) == 20, "one asker's quota is not another's"
    assert taken(rate, "loud", 0.1) == 10
    assert taken(rate, "loud", 10) == 20, "what was not used is not saved beyond a burst"


def test_less_than_one_is_saved_up() -> None:
    rate = Rate(per_second=1, burst=1)
    assert [rate.take("slow", now / 4) for now in range(9)] == [True, False, False, False] * 2 + [True]


def test_askers_that_are_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_MANY", 10)
    rate = Rate(per_second=1, burst=5)
    assert taken(rate, "loud", 0) == 5
    for number in range(100):
        assert rate.take(number, number / 25)
    assert len(rate._buckets) < 100
    assert taken(rate, "loud", 4) == 4, "who was forgotten has its burst again"


def test_places_of_one_and_of_all() -> None:
    places = Places(each=2, altogether=3)
    assert [places.take("loud") for _ in range(3)] == [True, True, False]
    assert [places.take("quiet") for _ in range(2)] == [True, False], "all places are taken"
    places.release("loud")
    assert places.take("quiet")
    for asker in ("loud", "quiet", "quiet"):
        places.release(asker)
    assert [places.take("loud") for _ in range(3)] == [True, True, False]


def test_turn_and_turn_about() -> None:
    backlog = Backlog[int]()
    assert [backlog.put("loud", number, 3) for number in range(5)] == [True, True, True, False, False]
    assert backlog.put("quiet", 10, 3) and backlog.put("other", 20, 1) and backlog.put("quiet", 11, 3)
    order = []
    while backlog:
        order.append(backlog.take())
    assert order == [0, 10, 20, 1, 11, 2]
    assert backlog.put("loud", 5, 1) and backlog.take() == 5
    with pytest.raises(KeyError):
        backlog.take()
