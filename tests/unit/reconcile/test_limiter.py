from __future__ import annotations

from hawse.supervisor.reconcile.limiter import FREE, LONGEST_PAUSE, QUIET, Limiter


def test_the_first_repairs_are_free_then_the_pauses_grow_to_a_limit() -> None:
    limiter, now, pauses = Limiter(), 1000.0, []
    for _ in range(FREE + 12):
        now += limiter.wait("a", now)
        limiter.repaired("a", now)
        pauses.append(limiter.wait("a", now))
    assert pauses[: FREE - 1] == [0.0] * (FREE - 1)
    assert pauses[FREE - 1 :] == sorted(pauses[FREE - 1 :]) and pauses[-1] == LONGEST_PAUSE
    assert limiter.wait("b", now) == 0.0, "another object has a past of its own"


def test_the_beginning_of_a_fight_is_told_once() -> None:
    limiter = Limiter()
    assert [limiter.repaired("a", 1.0) for _ in range(FREE + 2)].count(True) == 1


def test_quiet_forgets() -> None:
    limiter = Limiter()
    for _ in range(FREE + 3):
        limiter.repaired("a", 0.0)
    later = QUIET + LONGEST_PAUSE + 1
    assert limiter.wait("a", later) == 0.0
    limiter.repaired("b", later)
    assert list(limiter._past) == ["b"]
