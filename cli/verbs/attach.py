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
    from hawse.cli.wire.foreground import Foreground
    from hawse.cli.wire.terminal import require

    found = context.client.get(f"/containers/{quote(name)}/json")
    config = found["Config"]
    stdin = options.interactive and config["OpenStdin"]
    require(stdin, config["Tty"])
    session = Foreground(
        context.client,
        found["Id"],
        tty=config["Tty"],
        streams=frozenset({"stdout", "stderr", *(["stdin"] if stdin else [])}),
        detach_keys=options.detach_keys,
        sig_proxy=options.sig_proxy,
    )
    removed = found["HostConfig"].get("AutoRemove")
    try:
        code = session.run(
            "removed" if removed else "next-exit", lambda: context.client.post(f"/containers/{found['Id']}/start")
        )
    except ApiError as e:
        raise Failure(e.message, code if (code := program_error(e)) != 125 else 1) from None
    return code or 0


def _attach(context: Context, options: Options, names: list[str]) -> int:
    from hawse.cli.wire.foreground import Foreground
    from hawse.cli.wire.terminal import require

    found = context.client.get(f"/containers/{quote(names[0])}/json")
    _check_running(found["State"])
    config = found["Config"]
    stdin = config["OpenStdin"] and not options.no_stdin
    require(stdin, config["Tty"])
    session = Foreground(
        context.client,
        found["Id"],
        tty=config["Tty"],
        streams=frozenset({"stdout", "stderr", *(["stdin"] if stdin else [])}),
        detach_keys=options.detach_keys,
        sig_proxy=options.sig_proxy,
    )
    return session.run("not-running") or 0


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
