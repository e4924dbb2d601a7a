"""Calls of every kind leave nothing in the daemon.  Few here; `script/bench calls` makes a thousand of each."""

from __future__ import annotations

from hawse.cli.selftest.lab import Lab
from tests.bench.calls import KINDS, grown, prepare


def test_calls_leave_nothing(lab: Lab) -> None:
    prepare(lab)

    def all_kinds(lab: Lab, number: int) -> None:
        for _, call, _ in KINDS:
            call(lab, number)

    grew: list[int] = []
    while not grew or (
        grew[-1] >= 4096 and len(grew) < 4
    ):  # a leak grows each time, what is kept for the next call once
        before, after = grown(lab, all_kinds, 16, 16)
        assert after.descriptors <= before.descriptors
        grew.append(after.memory - before.memory)
    assert grew[-1] < 4096, f"KiB in each round: {grew}"
    assert lab.daemon.request("DELETE", "/containers/box?force=1")[0] == 204
