"""/hawse/v1/hooks: what `hawse hook` asks for.  Names have slashes, so they come as parameters."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import to_builtins

from hawse.supervisor.api.call import Call
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.store.hooks import HookRun


async def listing(call: Call) -> web.StreamResponse:
    """GET hooks: every hook, and every file that was refused with the reason."""
    return call.json(
        [
            {
                "Name": line.name,
                "Kind": line.kind,
                "Events": line.events,
                "Mode": line.mode,
                "State": line.state,
                "Problem": line.problem,
                "Lag": line.lag,
                "Dead": line.dead,
                "Last": _run(call, line.last) if line.last else None,
            }
            for line in await call.engine.hooks.listed()
        ]
    )


async def runs(call: Call) -> web.StreamResponse:
    """GET hooks/runs?hook=&limit=: newest first."""
    limit = call.query.integer("limit", 100, least=1)
    return call.json([_run(call, run) for run in await call.engine.hooks.runs(call.query.text("hook"), limit)])


async def test(call: Call) -> web.StreamResponse:
    """POST hooks/test?event=&container=&hook=: run them now, record nothing."""
    query = call.query
    ended = await call.engine.hooks.test(_needed(call, "event"), query.text("container"), query.text("hook"))
    return call.json(
        [
            {
                "Hook": name,
                "Ok": outcome.ok,
                "Code": outcome.code,
                "Signal": outcome.signal,
                "TimedOut": outcome.timed_out,
                "Output": outcome.output,
                "Answer": outcome.answer.decode(errors="replace"),
            }
            for name, outcome in ended
        ]
    )


async def retry(call: Call) -> web.StreamResponse:
    """POST hooks/retry?hook=&seq=: dead letters once more, all without a seq."""
    seq = call.query.integer("seq", 0, least=0)
    return call.json({"Retried": await call.engine.hooks.retry(_needed(call, "hook"), seq or None)})


async def replay(call: Call) -> web.StreamResponse:
    """POST hooks/replay?hook=&after=&since=: begin again after a cursor, at a time, or with the oldest event."""
    after, journal = call.query.text("after"), call.engine.store.journal
    since = call.query.timestamp("since", call.engine.parts.clock())
    if after and since is not None:
        raise UserError("after and since exclude each other")
    if since is not None:
        seq = await call.engine.store.read(lambda tx: tx.seq_at(since))
        after = journal.epochs.cursor(max(seq, journal.oldest - 1))
    await call.engine.hooks.replay(_needed(call, "hook"), after)
    return call.nothing()


async def disable(call: Call) -> web.StreamResponse:
    """POST hooks/disable?hook=: it is not run, and never told of what happens meanwhile."""
    await call.engine.hooks.switch(_needed(call, "hook"), on=False)
    return call.nothing()


async def enable(call: Call) -> web.StreamResponse:
    """POST hooks/enable?hook=: it is told of what happens from now on."""
    await call.engine.hooks.switch(_needed(call, "hook"), on=True)
    return call.nothing()


def _needed(call: Call, name: str) -> str:
    if value := call.query.text(name):
        return value
    raise UserError(f"the parameter {name} is required")


def _run(call: Call, run: HookRun) -> dict[str, Any]:
    cursor = call.engine.store.journal.epochs.cursor(run.seq) if run.seq else ""
    return {**to_builtins(run), "cursor": cursor}
