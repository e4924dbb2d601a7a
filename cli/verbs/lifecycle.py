"""Verbs that take names and answer with them: stop, kill, restart, pause, unpause, rm, wait, rename."""

from __future__ import annotations

from collections.abc import Callable

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.listing import each, together
from hawse.cli.wire.client import quote

_NAMES = "CONTAINER [CONTAINER...]"


def _each(context: Context, verb: str, names: list[str], **query: object) -> int:
    """POST /containers/NAME/VERB for every name."""
    return together(context, names, lambda name: ("POST", f"/containers/{quote(name)}/{verb}", query))


def _plain(verb: str) -> Callable[[Context, Options, list[str]], int]:
    return lambda context, options, names: _each(context, verb, names)


def _ending(verb: str) -> Callable[[Context, Options, list[str]], int]:
    def act(context: Context, options: Options, names: list[str]) -> int:
        seconds = options.timeout if options.given("timeout") else None
        return _each(context, verb, names, t=seconds, signal=options.signal or None)

    return act


def _kill(context: Context, options: Options, names: list[str]) -> int:
    return _each(context, "kill", names, signal=options.signal or "KILL")


def _rm(context: Context, options: Options, names: list[str]) -> int:
    """With --force, what is not there is as good as removed (and is told, as Docker does)."""
    query = {"force": options.force or None, "v": options.volumes or None, "link": options.link or None}
    for name in names:
        if not name.strip("/"):
            raise Failure("Container name cannot be empty")
    return together(
        context,
        names,
        lambda name: ("DELETE", f"/containers/{quote(name.strip('/'))}", query),
        missing_is_fine=options.force,
    )


def wait_for_end(context: Context, names: list[str]) -> int:
    """Wait until each has ended and print their exit codes."""
    from hawse.cli.errors import Disconnected
    from hawse.cli.wire.foreground import exit_code_after_restart, status

    def wait(name: str) -> str:
        path = f"/containers/{quote(name)}"
        try:
            with context.client.open("POST", f"{path}/wait", {"condition": "not-running"}) as waiting:
                return str(status(waiting))
        except Disconnected:
            return str(exit_code_after_restart(context.client, path))

    return each(names, wait)


def _rename(context: Context, options: Options, names: list[str]) -> int:
    old, new = (name.strip() for name in names)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    context.client.post(f"/containers/{quote(old)}/rename", name=new)
    return 0


_SIGNAL = Flag("signal", "s", help="Signal to send", completes="signal")
_TIMEOUT = Flag("timeout", "t", "int", "Seconds to wait before it is killed, -1 to wait for ever", aliases=("time",))

STOP = Command(_ending("stop"), _NAMES, least=1, flags=(_SIGNAL, _TIMEOUT), completes="running")
RESTART = Command(_ending("restart"), _NAMES, least=1, flags=(_SIGNAL, _TIMEOUT), completes="container")
KILL = Command(_kill, _NAMES, least=1, flags=(_SIGNAL,), completes="running")
PAUSE = Command(_plain("pause"), _NAMES, least=1, completes="running")
UNPAUSE = Command(_plain("unpause"), _NAMES, least=1, completes="running")
RM = Command(
    _rm,
    _NAMES,
    least=1,
    flags=(
        Flag("force", "f", "bool", "Kill it first when it runs"),
        Flag("link", "l", "bool", hidden=True),
        Flag("volumes", "v", "bool", "Remove its anonymous volumes as well"),
    ),
    completes="container",
)
RENAME = Command(_rename, "CONTAINER NEW_NAME", least=2, most=2, completes="container")
