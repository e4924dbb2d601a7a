"""GET /hawse/v1/metrics: Prometheus' text format.

Counters and histograms are of this daemon's life (tally.py); gauges are read when asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web

from hawse.supervisor.api.call import HEADERS, Call
from hawse.supervisor.core.model import State
from hawse.supervisor.journal.tally import Sample
from hawse.supervisor.store.tx import Tx

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


async def metrics(call: Call) -> web.StreamResponse:
    """GET metrics: containers, stages of starts, events, lags, hooks, leases, the journal; as Prometheus reads them."""
    engine, tally = call.engine, call.engine.tally
    journal = engine.store.journal

    def look(tx: Tx) -> tuple[Counter[str], Counter[str], int, Counter[str]]:
        states = Counter(container.state.value for container in tx.containers())
        dead = Counter(delivery.handler for delivery in tx.deliveries(dead=True))
        return states, Counter(lease.network for lease in tx.leases()), tx.journal_bytes(), dead

    states, leases, size, dead = await engine.store.read(look)
    networks = [network.name for network in await engine.networks.all()]
    desks = await engine.subscriptions.all()
    runs, seconds = engine.hooks.samples()
    text = "".join(
        (
            _family(
                "containers", "gauge", "Containers by state.", _by("state", {s.value: states[s.value] for s in State})
            ),
            _family("start_stage_seconds", "histogram", "Time of the stages of starts.", tally.stage_samples()),
            _family("events_total", "counter", "Events by type.", _by("type", tally.events)),
            _family("journal_events", "gauge", "Events kept.", _one(journal.head - journal.oldest + 1)),
            _family("journal_bytes", "gauge", "About the bytes that the kept events take.", _one(size)),
            _family(
                "handler_lag_events", "gauge", "Events a handler is behind.", _by("handler", engine.dispatcher.lag())
            ),
            _family(
                "subscription_lag_events",
                "gauge",
                "Events a subscription has yet to acknowledge or pass.",
                _by("subscription", {desk.record.name: desk.lag for desk in desks}),
            ),
            _family("hook_failures_total", "counter", "Failed runs of hooks.", _by("hook", tally.hook_failures)),
            _family("hook_runs_total", "counter", "Runs of hooks by outcome, gates included.", runs),
            _family("hook_run_seconds", "summary", "Time that runs of hooks took.", seconds),
            _family("dead_letters", "gauge", "Events that a handler gave up.", _by("handler", dead)),
            _family("repairs_total", "counter", "Repairs of networks.", _one(tally.events["network.repaired"])),
            _family("leases", "gauge", "Addresses in use.", _by("network", {name: leases[name] for name in networks})),
        )
    )
    return web.Response(body=text.encode(), headers={**HEADERS, "Content-Type": CONTENT_TYPE})


def _one(value: float) -> Iterable[Sample]:
    return (("", {}, value),)


def _by(label: str, values: Mapping[str, float]) -> Iterable[Sample]:
    return [("", {label: name}, value) for name, value in sorted(values.items())]


def _family(name: str, kind: str, help_: str, samples: Iterable[Sample]) -> str:
    """Return one metric family in the text format, version 0.0.4."""
    lines = [f"# HELP hawse_{name} {help_}", f"# TYPE hawse_{name} {kind}"]
    for suffix, labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(
            f"hawse_{name}{suffix}{{{shown}}} {_number(value)}" if shown else f"hawse_{name}{suffix} {_number(value)}"
        )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
