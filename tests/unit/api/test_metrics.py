"""Prometheus' text: what is counted, and that a parser of the format reads it."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import Event, Fact
from hawse.supervisor.journal.tally import Tally
from tests.unit.api.client import Api

_SAMPLE = re.compile(r'hawse_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+\Z')


def event(fact: Fact, seq: int = 1) -> Event:
    return Event(epoch="e", seq=seq, time=1, fact=fact)


def test_a_histogram_counts_every_start_in_all_wider_buckets(samples: Any) -> None:
    tally = Tally()
    for took in (400, 30_000, 9_000_000):
        tally.told(event(facts.ContainerStarted(container=replace(samples.container(1), stages={"total": took}))))
    values = {(suffix, labels.get("le", "")): value for suffix, labels, value in tally.stage_samples()}
    assert values["_bucket", "0.0005"] == 1
    assert values["_bucket", "0.025"] == 1
    assert values["_bucket", "0.05"] == 2
    assert values["_bucket", "2.5"] == 2
    assert values["_bucket", "+Inf"] == values["_count", ""] == 3
    assert values["_sum", ""] == 9.0304


def test_failures_of_hooks_are_counted_by_hook() -> None:
    tally = Tally()
    tally.told(event(facts.HookFailed(handler="notify", event="x")))
    tally.told(event(facts.HookDead(handler="notify", event="x")))
    tally.told(event(facts.HookSucceeded(handler="notify", event="x")))
    assert tally.hook_failures == {"notify": 2}


async def test_the_text_is_the_format(api: Api) -> None:
    await api.created()
    await api.json("POST", "/hawse/v1/subscriptions", {"Name": "mine"})
    status, headers, body = await api.request("GET", "/hawse/v1/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = body.decode().splitlines()
    for line in lines:
        assert line.startswith(("# HELP hawse_", "# TYPE hawse_")) or _SAMPLE.match(line), line
    assert 'hawse_containers{state="running"} 1' in lines
    assert 'hawse_hook_runs_total{hook="10-a",outcome="failed"} 2' in lines
    assert 'hawse_hook_run_seconds_sum{hook="10-a"} 0.5' in lines
    assert 'hawse_subscription_lag_events{subscription="mine"} 0' in lines
