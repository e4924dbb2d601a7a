"""Endpoints that stay with a running container: wait, attach, resize."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from hawse.supervisor.api import hijack, wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints.logs import shown
from hawse.supervisor.core.errors import Conflict, HawseError, UserError
from hawse.supervisor.core.model import Container, State
from hawse.supervisor.docker.body import MAX_SIZE
from hawse.supervisor.docker.text import UNKNOWN_EXIT
from hawse.supervisor.runtime.client import AttachOptions
from hawse.supervisor.runtime.logfollow import LogQuery, read_log

CONDITIONS = ("not-running", "next-exit", "removed")


async def wait(call: Call) -> web.StreamResponse:
    """POST /containers/X/wait: the exit code.

    The head goes out as soon as the exit can no longer be missed; `docker run` starts the container only then.
    """
    condition = call.query.text("condition") or "not-running"
    if condition not in CONDITIONS:
        raise UserError(f'invalid condition: "{condition}"', hint=f"one of {', '.join(CONDITIONS)}")
    async with call.engine.waiting(call.ref, condition) as ended, call.stream(wire.JSON) as out:
        exit_ = await ended()
        answer = {"StatusCode": UNKNOWN_EXIT if exit_.code is None else exit_.code}
        await out.line(answer | ({"Error": {"Message": exit_.reason}} if exit_.code is None else {}))
    return out.response


async def attach(call: Call) -> web.StreamResponse:
    """POST /containers/X/attach: hijacked; a container that does not run yet is attached to when it starts."""
    container = await call.engine.container(call.ref)
    config = container.config
    if container.state is State.PAUSED:
        raise Conflict(f"container {call.ref} is paused, unpause the container before attach")
    if container.state in (State.REMOVING, State.DEAD):
        raise Conflict(f"container {call.ref} is {container.state}, it cannot be attached to")
    keys = call.query.text("detachKeys") or wire.DETACH_KEYS
    follow = call.query.flag("stream")
    async with hijack.taken(call, tty=config.tty) as client:
        if not follow:  # docker: what it has said so far, and that is all
            if call.query.flag("logs"):
                await client.heard()
                await _replay(call, container, client)
            return call.handed_over()
        options = AttachOptions(
            stdin=call.query.flag("stdin") and config.stdin_open,
            stdout=call.query.flag("stdout"),
            stderr=call.query.flag("stderr"),
            framed=not config.tty,
            logs=call.query.flag("logs"),
            detach_keys=keys if config.tty else "",
        )
        if container.state is State.RUNNING:  # before its start one is silent, and must have its listener by then
            await client.heard()
        try:
            await call.engine.attach(container, client.fd, client.prefix, options)
        except HawseError as e:
            await client.tell(f"Error attaching: {e}")
    return call.handed_over()


async def _replay(call: Call, container: Container, client: hijack.Client) -> None:
    wish = LogQuery(stdout=call.query.flag("stdout"), stderr=call.query.flag("stderr"))
    async with aclosing(read_log(call.engine.parts.places.of(container.id).log, wish)) as batches:
        async for entries in batches:
            try:
                await client.send(b"".join(shown(entry, client.framed) for entry in entries))
            except ConnectionError:
                return


async def resize(call: Call) -> web.StreamResponse:
    """POST /containers/X/resize?h=&w=: the terminal's rows and columns."""
    rows, cols = size(call)
    await call.engine.resize(call.ref, rows, cols)
    return call.nothing(200)


def size(call: Call) -> tuple[int, int]:
    """h and w of a terminal."""
    for name in ("h", "w"):
        if name not in call.query:
            raise UserError(f"invalid value for {name}: absent", hint="h and w, a terminal's rows and columns")
    return call.query.integer("h", 0, least=0, most=MAX_SIZE), call.query.integer("w", 0, least=0, most=MAX_SIZE)
