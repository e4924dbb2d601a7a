"""GET /hawse/v1/events: the journal for readers who keep a cursor.

JSON lines, or server-sent events when Accept asks for them.  One reader holds one page and no place in a queue: who reads
slowly, or stops, costs disk reads later and nobody else anything now.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import anyio
import msgspec
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call, Stream
from hawse.supervisor.core.errors import Gone, UserError
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.journal.envelope import composer
from hawse.supervisor.journal.eventfilter import EventFilter, parse
from hawse.supervisor.store.crowd import Place, Sight
from hawse.supervisor.store.journal import WINDOW, Journal
from hawse.supervisor.store.tx import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one reader asked for."""

    filter: EventFilter
    types: tuple[str, ...]
    subject: str
    position: int
    follow: bool
    until: int | None


async def events(call: Call) -> web.StreamResponse:
    """GET events: the journal, resumable from a cursor.

    ?after=CURSOR&since=TIME&until=TIME&tail=N&follow=1&types=…&subject=…&filters=["exit!=0"]
    `after` is exclusive ("now": only what comes); without it everything that is kept comes.  `Last-Event-ID` stands for it.
    A cursor that cannot be honoured is 410 with the oldest one that can; when pruning overtakes a reader the last line is
    `gone`.  While nothing matches a heartbeat carries the newest cursor.
    """
    journal = call.engine.store.journal
    wish = await _wish(call, journal)
    sse = wire.EVENT_STREAM in call.request.headers.get("Accept", "")
    begins = {wire.CURSOR: journal.epochs.cursor(wish.position)}
    async with call.stream(wire.EVENT_STREAM if sse else wire.JSON_LINES, begins) as out:
        left = None if wish.until is None else max(0.0, (wish.until - call.engine.parts.clock()) / 1e9)
        try:
            await _tell(journal, wish, out, sse, left)
        except Gone as e:
            await notice(out, sse, {"type": "gone", "oldest": e.oldest, "message": e.message})
    return out.response


async def _wish(call: Call, journal: Journal) -> Wish:
    query, now = call.query, call.engine.parts.clock()
    after = query.text("after") or call.request.headers.get("Last-Event-ID", "")
    since, until = query.timestamp("since", now), query.timestamp("until", now)
    if since is not None and until is not None and since > until:
        raise UserError("`since` time cannot be after `until` time")
    position = journal.head if after == "now" else journal.parse(after)
    if since is not None:
        position = max(position, await call.engine.store.read(lambda tx: tx.seq_at(since)))
    wanted = parse(expressions(query.text("filters")))
    types = tuple(filter(None, query.text("types").split(",")))
    if types and wanted.types:
        wanted = parse((*wanted.expressions, *(f"type={glob}" for glob in types)))
    wish = Wish(
        filter=wanted,
        types=wanted.types or types,
        subject=query.text("subject"),
        position=position,
        follow=query.flag("follow") and (until is None or until > now),
        until=until,
    )
    if tail := query.integer("tail", 0, least=0):
        return replace(wish, position=await _last(call, journal, wish, tail))
    return wish


def expressions(text: str) -> list[str]:
    """The `filters` parameter: a JSON list of strings.  Raises UserError."""
    try:
        return msgspec.json.decode(text, type=list[str]) if text else []
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise UserError(f"invalid filters: {text[:80]}", hint='a JSON list such as ["type=container.*"]') from None


async def _last(call: Call, journal: Journal, wish: Wish, count: int) -> int:
    """The seq after which the newest `count` events that match begin, but not before the wish's own beginning."""
    upto, found = journal.head, 0
    while upto > wish.position:
        begin = max(wish.position, upto - WINDOW)
        rows = await call.engine.store.read(partial(_between, wish=wish, begin=begin, upto=upto))
        matching = [row.seq for row in rows if wish.filter.wants(row) and _in_time(row, wish)]
        if found + len(matching) >= count:
            return matching[found - count] - 1
        found += len(matching)
        upto = begin
    return wish.position


def _between(tx: Tx, wish: Wish, begin: int, upto: int) -> list[Stored]:
    return tx.stored(begin, WINDOW, types=wish.types, subject=wish.subject, upto=upto)


def _in_time(row: Stored, wish: Wish) -> bool:
    return wish.until is None or row.time <= wish.until


async def _tell(journal: Journal, wish: Wish, out: Stream, sse: bool, left: float | None) -> None:
    """Write until the wish's end, or for ever.  Raises Gone when pruning overtakes the reader."""
    if out.transport is None:
        return
    compose, last = composer(journal.epochs, platform.node()), journal.head
    narrow = partial(_lines, compose, wish, journal, sse)

    def look(position: int) -> Sight | None:
        found = journal.newest(position, types=wish.types, subject=wish.subject)
        return found and (found[0], out.framed(narrow(found[1])))

    same = (wish.filter.expressions, wish.types, wish.subject, wish.until, sse, out.response.chunked)
    with anyio.move_on_after(left if wish.follow else None):
        place = Place(out.transport, wish.position, anyio.current_time())
        while wish.follow or place.position < last:
            if place.position < journal.head:
                upto = None if wish.follow else last
                place.position, rows = await journal.page(
                    place.position, types=wish.types, subject=wish.subject, upto=upto
                )
                if data := narrow(rows):
                    await out.write(data)
                    place.told_at = anyio.current_time()
                    continue
            due = place.told_at + wire.HEARTBEAT - anyio.current_time()
            if due <= 0:
                await heartbeat(out, sse, journal.epochs.cursor(place.position))
                place.told_at = anyio.current_time()
            elif wish.follow and place.position >= journal.head:
                await journal.crowd.stand(place, same, look, due)


def _lines(
    compose: Callable[[Stored], bytes], wish: Wish, journal: Journal, sse: bool, rows: Iterable[Stored]
) -> bytes:
    """Return what of those the reader wants, in its format."""
    wanted = (row for row in rows if _in_time(row, wish) and wish.filter.wants(row))
    return b"".join(line(compose(row), row, journal, sse) for row in wanted)


def line(document: bytes, row: Stored, journal: Journal, sse: bool) -> bytes:
    """Return one event as the stream's format has it."""
    if not sse:
        return document + b"\n"
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (journal.epochs.cursor(row.seq).encode(), row.type.encode(), document)


async def heartbeat(out: Stream, sse: bool, cursor: str) -> None:
    """Nothing that matches happened; reading may go on from here."""
    if sse:
        await out.write(f"id: {cursor}\nevent: heartbeat\ndata: {{}}\n\n".encode())
    else:
        await out.line({"type": "heartbeat", "cursor": cursor})


async def notice(out: Stream, sse: bool, view: dict[str, str]) -> None:
    """A line that is no event: `gone`."""
    if sse:
        await out.write(b"event: %b\ndata: %b\n\n" % (view["type"].encode(), msgspec.json.encode(view)))
    else:
        await out.line(view)
