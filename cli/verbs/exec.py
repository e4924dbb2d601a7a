"""`hawse exec`: one more program in a running container."""

from __future__ import annotations

import contextlib

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.container_body import environment
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire import detach
from hawse.cli.wire.client import quote
from hawse.cli.wire.response import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _exec(context: Context, options: Options, arguments: list[str]) -> int:
    container, *program = arguments
    if not options.detach and options.tty:
        from hawse.cli.wire.terminal import require

        require(options.interactive, options.tty)
    keys = detach.parse(options.detach_keys)
    body = {
        "AttachStdin": options.interactive and not options.detach,
        "AttachStdout": not options.detach,
        "AttachStderr": not options.detach,
        "Cmd": program,
        "DetachKeys": options.detach_keys,
        "Env": environment(options),
        "Privileged": options.privileged,
        "Tty": options.tty,
        "User": options.user,
        "WorkingDir": options.workdir,
    }
    path = f"/exec/{context.client.post(f'/containers/{quote(container)}/exec', body)['Id']}"
    if options.detach:
        try:
            context.client.post(f"{path}/start", {"Detach": True, "Tty": options.tty})
        except ApiError as e:
            raise _failed(e) from None
        return 0
    return _attached(context, options, path, keys)


def _attached(context: Context, options: Options, path: str, keys: bytes) -> int:
    from hawse.cli.wire.stream import Stream

    raw = options.tty and options.interactive
    with contextlib.ExitStack() as stack:
        signals = None
        start: dict[str, Any] = {"Detach": False, "Tty": options.tty}
        if options.tty:
            import signal

            from hawse.cli.wire.foreground import resize
            from hawse.cli.wire.signals import SignalQueue
            from hawse.cli.wire.terminal import RawTerminal, size

            signals = stack.enter_context(SignalQueue([signal.SIGWINCH]))
            if console := size() or size(0):
                start["ConsoleSize"] = list(console)
            if raw:
                stack.enter_context(RawTerminal())
        attached = _hijack(context, path, start)
        stream = Stream(
            attached,
            stdin=options.interactive,
            framed=not options.tty,
            keys=detach.DetachKeys(keys) if raw else None,
            signals=signals,
            on_signal=lambda _: resize(context.client, path),
        )
        if not stream.run():
            return 0
    ended = context.client.get(f"{path}/json")
    if ended["Running"]:
        raise Failure("the exec's output ended before it did; it still runs")
    return int(ended["ExitCode"] if ended["ExitCode"] is not None else 255)


def _hijack(context: Context, path: str, start: dict[str, Any]) -> Response:
    try:
        return context.client.hijack(f"{path}/start", {}, start)
    except ApiError as e:
        raise _failed(e) from None


def _failed(error: ApiError) -> Failure:
    """126 and 127 for a program that cannot be started, 1 for everything else."""
    from hawse.cli.verbs.run import program_error

    code = program_error(error)
    return Failure(error.message, code if code != 125 else 1)


EXEC = Command(
    _exec,
    "CONTAINER COMMAND [ARG...]",
    least=2,
    flags=(
        Flag("detach", "d", "bool", "Leave it running in the background"),
        Flag("detach-keys", help="Keys that detach from it"),
        Flag("env", "e", "env", "Set an environment variable, NAME=VALUE or NAME to pass on yours"),
        Flag("env-file", kind="list", help="Read environment variables from a file"),
        Flag("interactive", "i", "bool", "Pass on standard input"),
        Flag("privileged", kind="bool", help="Give it all capabilities"),
        Flag("tty", "t", "bool", "Give it a terminal"),
        Flag("user", "u", help="User name or id, and group after a colon"),
        Flag("workdir", "w", help="Working directory"),
    ),
    interspersed=False,
    completes="running",
)
