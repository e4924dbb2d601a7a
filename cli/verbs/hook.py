"""`hawse hook ls|runs|test|retry|replay|disable|enable`: programs of this host that events run (docs/hooks.md)."""

from __future__ import annotations

import json

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.listing import each
from hawse.cli.show.table import aligned
from hawse.cli.show.times import moment, rfc3339
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOOKS = f"{wire.NATIVE}/hooks"
_DEAD_SHOWN = 5  # numbers of dead letters in a line; --format json has all
_FORMAT = Flag("format", help="json, or a table")


def _ls(context: Context, options: Options, _: list[str]) -> int:
    hooks = context.client.get(_HOOKS)
    if options.format == "json":
        print(json.dumps(hooks, indent=4))
        return 0
    rows = [["HOOK", "EVENTS", "MODE", "STATE", "DEAD", "LAST RUN"]]
    for hook in hooks:
        dead = ",".join(map(str, hook["Dead"][:_DEAD_SHOWN]))
        if (more := len(hook["Dead"]) - _DEAD_SHOWN) > 0:
            dead += f" and {more} more"
        rows.append([hook["Name"], ",".join(hook["Events"]), hook["Mode"], _state(hook), dead, _last(hook["Last"])])
    print("\n".join(aligned(rows)))
    return 1 if any(hook["State"] == "bad" for hook in hooks) else 0


def _state(hook: dict[str, Any]) -> str:
    if hook["State"] == "bad":
        return f"bad: {hook['Problem']}"
    return f"{hook['Lag']} behind" if hook["Lag"] and hook["State"] == "ready" else str(hook["State"])


def _last(run: dict[str, Any] | None) -> str:
    return f"{rfc3339(run['started_at'])} {_outcome(run)}" if run else ""


def _outcome(run: dict[str, Any]) -> str:
    return run["outcome"] or "running"


def _runs(context: Context, options: Options, names: list[str]) -> int:
    query = {"hook": names[0] if names else None, "limit": options.tail}
    runs = context.client.get(f"{_HOOKS}/runs", **query)
    if options.format == "json":
        print(json.dumps(runs, indent=4))
        return 0
    rows = [["STARTED", "TOOK", "HOOK", "EVENT", "SEQ", "TRY", "OUTCOME", "CODE", "OUTPUT"]]
    for run in reversed(runs):
        took = f"{(run['ended_at'] - run['started_at']) / 1e6:.0f} ms" if run["ended_at"] else ""
        output = run["output"].strip().splitlines()[-1:] or [""]
        code = "-" if run["code"] is None else str(run["code"])
        about = [run["hook"], run["event"], str(run["seq"] or "-"), str(run["attempt"])]
        rows.append([rfc3339(run["started_at"]), took, *about, _outcome(run), code, output[0][:80]])
    print("\n".join(aligned(rows)))
    return 0


def _test(context: Context, options: Options, arguments: list[str]) -> int:
    query = {"event": arguments[0], "container": options.container, "hook": options.hook}
    ended = context.client.post(f"{_HOOKS}/test", **query)
    for one in ended:
        how = (
            "no end in time"
            if one["TimedOut"]
            else f"signal {one['Signal']}"
            if one["Signal"]
            else f"exit {one['Code']}"
        )
        print(f"{one['Hook']}: {how}")
        for text in (one["Answer"], one["Output"]):
            if text.strip():
                print("    " + text.strip().replace("\n", "\n    "))
    return 0 if all(one["Ok"] for one in ended) else 1


def _retry(context: Context, options: Options, arguments: list[str]) -> int:
    hook, *seqs = arguments

    def once(seq: str) -> str:
        answer = context.client.post(f"{_HOOKS}/retry", hook=hook, seq=seq or None)
        return f"{answer['Retried']} retried"

    return each(seqs or [""], once)


def _replay(context: Context, options: Options, arguments: list[str]) -> int:
    if options.after and options.since:
        raise Failure("--after and --since exclude each other", 125)
    place = {"after": options.after or None, "since": moment(options.since)}
    context.client.post(f"{_HOOKS}/replay", hook=arguments[0], **place)
    print(arguments[0])
    return 0


def _switch(verb: str, context: Context, names: list[str]) -> int:
    def switch(name: str) -> str:
        context.client.post(f"{_HOOKS}/{verb}", hook=name)
        return name

    return each(names, switch)


LS = Command(_ls, most=0, flags=(_FORMAT,), note="Exit code 1 when a file was refused.")
RUNS = Command(_runs, "[HOOK]", most=1, flags=(_FORMAT, Flag("tail", "n", "int", "How many, the newest", default=100)))
TEST = Command(
    _test,
    "EVENT",
    least=1,
    most=1,
    flags=(
        Flag("container", help="The container it is about; else the last event of any"),
        Flag("hook", help="Only this hook"),
    ),
)
RETRY = Command(_retry, "HOOK [SEQ...]", least=1)
REPLAY = Command(
    _replay,
    "HOOK",
    least=1,
    most=1,
    flags=(
        Flag("after", help="Begin after this cursor, the id of an event"),
        Flag("since", help="Begin at this time, or so long ago"),
    ),
    note="Without --after or --since it is run again for everything that is kept.",
)
DISABLE = Command(lambda context, _, names: _switch("disable", context, names), "HOOK...", least=1)
ENABLE = Command(lambda context, _, names: _switch("enable", context, names), "HOOK...", least=1)
