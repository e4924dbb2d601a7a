"""Endpoints of exec: create, start (a hijack unless detached), resize, inspect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from hawse.supervisor.api import hijack, wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints.streams import size
from hawse.supervisor.core.errors import Conflict, HawseError, UserError
from hawse.supervisor.docker.body import Body, console_size, invalid
from hawse.supervisor.lifecycle.execs import ExecConfig


async def create(call: Call) -> web.StreamResponse:
    """POST /containers/X/exec: to be started within the daemon's life."""
    config = decode(await call.body())
    created = await call.engine.execs.create(call.ref, config)
    return call.json({"Id": created.id}, 201)


def decode(body: Body) -> ExecConfig:
    """Return what the client asked for.  Raises UserError."""
    argv = body.words("Cmd") or ()
    if not argv:
        raise UserError("No exec command specified")
    workdir = body.text("WorkingDir")
    if workdir and not workdir.startswith("/"):
        raise invalid("WorkingDir", workdir, "an absolute path")
    tty = body.flag("Tty")
    return ExecConfig(
        argv=argv,
        env=body.strings("Env"),
        workdir=workdir,
        user=body.text("User"),
        tty=tty,
        console=console_size(body),
        stdin=body.flag("AttachStdin"),
        stdout=body.flag("AttachStdout"),
        stderr=body.flag("AttachStderr"),
        privileged=body.flag("Privileged"),
        detach_keys=(body.text("DetachKeys") or wire.DETACH_KEYS) if tty else "",
    )


async def start(call: Call) -> web.StreamResponse:
    """POST /exec/X/start: hijacked unless detached; what fails after the hijack is told in the stream."""
    body = await call.body()
    execs = call.engine.execs
    found = execs.find(call.ref)
    if found.running or found.code is not None:
        raise Conflict(f"Error: Exec command {found.id} has already run")
    await execs.running(found.container_id)
    if console := console_size(body):
        found.config = replace(found.config, console=console)
    if body.flag("Detach"):
        await execs.start(found.id, None, b"")
        return call.nothing(200)
    # As docker: how it is told is the request's to say, whatever kind of terminal the program has.
    async with hijack.taken(call, tty=body.flag("Tty")) as client:
        await client.heard()
        try:
            await execs.start(found.id, client.fd, client.prefix, framed=client.framed)
        except HawseError as e:
            await client.tell(str(e))
    return call.handed_over()


async def resize(call: Call) -> web.StreamResponse:
    """POST /exec/X/resize?h=&w=: the terminal's rows and columns."""
    rows, cols = size(call)
    await call.engine.execs.resize(call.ref, rows, cols)
    return call.nothing(200)


async def inspect(call: Call) -> web.StreamResponse:
    """GET /exec/X/json: whether it runs, and its exit code."""
    found = await call.engine.execs.settled(call.ref)
    config = found.config
    view: dict[str, Any] = {
        "ID": found.id,
        "Running": found.running,
        "ExitCode": found.code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.argv[0],
            "arguments": list(config.argv[1:]),
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.stdin,
        "OpenStderr": config.stderr,
        "OpenStdout": config.stdout,
        "CanRemove": not found.running and found.code is not None,
        "ContainerID": found.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": found.pid,
    }
    return call.json(view)
