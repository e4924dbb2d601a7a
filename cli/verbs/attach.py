"""`hawse start` and `hawse attach`."""

from __future__ import annotations

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.listing import together
from hawse.cli.wire.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hawse.cli.wire.foreground import Foreground

_KEYS = Flag("detach-keys", help="Keys that detach from it")
_PROXY = Flag("sig-proxy", kind="bool", help="Pass signals on to the program", default=True)


def _start(context: Context, options: Options, names: list[str]) -> int:
    if options.attach or options.interactive:
        if len(names) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _start_attached(context, options, names[0])

    return together(context, names, lambda name: ("POST", f"/containers/{quote(name)}/start", {}))


def _start_attached(context: Context, options: Options, name: str) -> int:
    from hawse.cli.verbs.run import program_error

    found = context.client.get(f"/containers/{quote(name)}/json")
    stdin = options.interactive and found["Config"]["OpenStdin"]
    session = _session(context, options, found, stdin)
    removed = found["HostConfig"].get("AutoRemove")
    try:
        code = session.run(
            "removed" if removed else "next-exit", lambda: context.client.post(f"/containers/{found['Id']}/start")
        )
    except ApiError as e:
        raise Failure(e.message, code if (code := program_error(e)) != 125 else 1) from None
    return code or 0


def _attach(context: Context, options: Options, names: list[str]) -> int:
    found = context.client.get(f"/containers/{quote(names[0])}/json")
    _check_running(found["State"])
    stdin = found["Config"]["OpenStdin"] and not options.no_stdin
    session = _session(context, options, found, stdin)
    return session.run("not-running") or 0


def _session(context: Context, options: Options, found: dict[str, Any], stdin: bool) -> Foreground:
    """Prepare to attach to what was inspected.  Raises Failure where a terminal is needed and there is none."""
    from hawse.cli.wire.foreground import Foreground
    from hawse.cli.wire.terminal import require

    tty = found["Config"]["Tty"]
    require(stdin, tty)
    return Foreground(
        context.client,
        found["Id"],
        tty=tty,
        streams=frozenset({"stdout", "stderr", *(["stdin"] if stdin else [])}),
        detach_keys=options.detach_keys,
        sig_proxy=options.sig_proxy,
    )


def _check_running(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise Failure("cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failure("cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failure("cannot attach to a restarting container, wait until it is running")


START = Command(
    _start,
    "CONTAINER [CONTAINER...]",
    least=1,
    flags=(
        Flag("attach", "a", "bool", "Show its output and pass signals on, until it ends"),
        _KEYS,
        Flag("interactive", "i", "bool", "Pass on standard input"),
        _PROXY,
    ),
    completes="container",
)
ATTACH = Command(
    _attach,
    "CONTAINER",
    least=1,
    most=1,
    flags=(_KEYS, Flag("no-stdin", kind="bool", help="Do not pass on standard input"), _PROXY),
    completes="running",
)
