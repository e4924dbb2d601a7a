"""/hawse/v1/subscriptions: durable readers in other processes, which acknowledge what they have dealt with."""

from __future__ import annotations

import platform
from typing import Any

from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.native.events import heartbeat, notice
from hawse.supervisor.core.errors import Gone, NotFound, UserError
from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.docker.body import Body
from hawse.supervisor.docker.query import parse_duration, parse_timestamp
from hawse.supervisor.journal.envelope import composer
from hawse.supervisor.journal.subscriptions import Consumer, LiveSubscription, parse_ids


async def create(call: Call) -> web.StreamResponse:
    """POST subscriptions: {"Name", "Filters", "AckDeadline", "After" or "Since"}; without a place it begins now."""
    wanted = await call.body()
    deadline = wanted.text("AckDeadline", "30s")
    try:
        seconds = parse_duration(deadline) / 1e9
    except ValueError:
        raise UserError(f"invalid AckDeadline {deadline!r}", hint="a duration such as 30s") from None
    position = await _position(call, wanted)
    subscription = await call.engine.subscriptions.create(
        wanted.text("Name"),
        position=call.engine.store.journal.head if position is None else position,
        filters=wanted.strings("Filters"),
        ack_seconds=seconds,
    )
    return call.json(view(subscription), 201)


async def listing(call: Call) -> web.StreamResponse:
    """GET subscriptions: all of them, by name."""
    return call.json([view(subscription) for subscription in await call.engine.subscriptions.all()])


async def inspect(call: Call) -> web.StreamResponse:
    """GET subscriptions/X: where it stands."""
    return call.json(view(await call.engine.subscriptions.named(call.ref)))


async def remove(call: Call) -> web.StreamResponse:
    """DELETE subscriptions/X: its consumers are told, its cursor is forgotten."""
    await call.engine.subscriptions.remove(call.ref)
    return call.nothing()


async def pause(call: Call) -> web.StreamResponse:
    """POST subscriptions/X/pause: deliver nothing until it is resumed."""
    await (await call.engine.subscriptions.named(call.ref)).pause(True)
    return call.nothing()


async def resume(call: Call) -> web.StreamResponse:
    """POST subscriptions/X/resume: deliver again, from where it was paused."""
    await (await call.engine.subscriptions.named(call.ref)).pause(False)
    return call.nothing()


async def replay(call: Call) -> web.StreamResponse:
    """POST subscriptions/X/replay: {"After": CURSOR} or {"Since": TIME}; everything from there is delivered (again)."""
    subscription = await call.engine.subscriptions.named(call.ref)
    position = await _position(call, await call.body())
    await subscription.replay(call.engine.store.journal.oldest - 1 if position is None else position)
    return call.json(view(subscription))


async def acknowledge(call: Call) -> web.StreamResponse:
    """POST subscriptions/X/ack: {"Ids": [event ids]}; answered when it is written down."""
    seqs = parse_ids((await call.body()).strings("Ids"), call.engine.store.journal.epochs)
    await (await call.engine.subscriptions.named(call.ref)).acknowledge(seqs)
    return call.nothing()


async def events(call: Call) -> web.StreamResponse:
    """GET subscriptions/X/events: what is to be delivered, one document a line with its `attempt`, for ever.

    With ?follow=0 it ends when nothing is left to deliver now.
    """
    subscription = await call.engine.subscriptions.named(call.ref)
    follow = call.query.flag("follow", True)
    epochs = call.engine.store.journal.epochs
    compose, consumer = composer(epochs, platform.node()), Consumer()
    async with call.stream(wire.JSON_LINES) as out:
        try:
            while True:
                try:
                    found = await subscription.take(consumer, wire.HEARTBEAT if follow else 0)
                except Gone as e:
                    await notice(out, False, {"type": "gone", "oldest": e.oldest, "message": e.message})
                    continue
                except NotFound:
                    break  # removed
                if found:
                    lines = (b'%b,"attempt":%d}\n' % (compose(one.row)[:-1], one.attempt) for one in found)
                    await out.write(b"".join(lines))
                elif follow:
                    await heartbeat(out, False, epochs.cursor(subscription.cursor))
                else:
                    break
        finally:
            subscription.leave(consumer)
    return out.response


def view(subscription: LiveSubscription) -> dict[str, Any]:
    record = subscription.record
    return {
        "Name": record.name,
        "Filters": record.filters,
        "AckDeadline": f"{record.ack_seconds:g}s",
        "Cursor": record.cursor,
        "Paused": record.paused,
        "Lag": subscription.lag,
        "Outstanding": subscription.outstanding,
        "Lost": record.lost,
        "CreatedAt": rfc3339(record.created_at),
    }


async def _position(call: Call, wanted: Body) -> int | None:
    """The seq that `After` (a cursor) or `Since` (a time) means; None when neither is given."""
    journal = call.engine.store.journal
    after, since = wanted.text("After"), wanted.text("Since")
    if after and since:
        raise UserError("After and Since exclude each other")
    if after:
        return journal.head if after == "now" else journal.parse(after)
    if since:
        moment = parse_timestamp("Since", since, call.engine.parts.clock())
        return await call.engine.store.read(lambda tx: tx.seq_at(moment))
    return None
