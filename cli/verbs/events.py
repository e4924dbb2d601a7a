"""`hawse events`: the journal from any place that is still kept, and on; or Docker's view of it."""

from __future__ import annotations

import json
import os
import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.eventline import table_line
from hawse.cli.show.listing import filters
from hawse.cli.show.table import coloured, painted
from hawse.cli.show.times import moment, rfc3339
from hawse.cli.wire import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_GOOD = frozenset({"start", "connect", "unpause", "create"})
_BAD = frozenset({"die", "oom", "kill", "destroy", "disconnect"})
_NATIVE_ONLY = ("after", "tail", "subscribe", "ack", "exec")
NO_MATCH = 1


def _events(context: Context, options: Options, _: list[str]) -> int:
    if options.format in ("", "json", "table"):
        return _native(context, options)
    if given := [f"--{name}" for name in _NATIVE_ONLY if options.given(name)]:
        raise Failure(f"{' '.join(given)} cannot be used with Docker's formats; use --format json or table", 125)
    return _docker(context, options)


# -- the journal itself --


def _native(context: Context, options: Options) -> int:
    show = printer(options.format)
    while True:
        seen, failed = _once(context, options, show)
        # an acknowledged event makes way for the next one of its container
        if not (seen and options.ack and options.no_follow) or failed or options.until_match:
            return failed or (NO_MATCH if options.until_match and not seen else 0)


def _once(context: Context, options: Options, show: Callable[[bytes, dict[str, Any]], None]) -> tuple[int, int]:
    """Follow one stream to its end; return how many events came, and the exit code of the first --exec that failed."""
    seen = failed = 0
    for line, event in _read(context, options):
        if event["type"] == "gone":
            print(f"hawse: {event['message']}", file=sys.stderr)
            continue
        seen += 1
        show(line, event)
        done = _execute(options.exec, line, event) if options.exec else 0
        failed = failed or done
        if options.subscribe and options.ack and not done:
            journal.acknowledge(context.client, options.subscribe, [event["id"]])
        if options.until_match:
            break
    return seen, failed


def _read(context: Context, options: Options) -> Iterator[tuple[bytes, dict[str, Any]]]:
    follow = options.follow and not options.no_follow
    if options.subscribe:
        if options.filter or any(options.given(name) for name in ("after", "since", "until", "tail")):
            raise Failure("a subscription has its own filters and place; see `hawse subscription create`", 125)
        return journal.deliveries(context.client, options.subscribe, follow)
    if options.ack:
        raise Failure("--ack needs --subscribe", 125)
    after = options.after
    if not after and follow and not any(options.given(name) for name in ("since", "tail", "until")):
        after = "now"
    query = {
        "after": after or None,
        "since": moment(options.since),
        "until": moment(options.until),
        "tail": options.tail or None,
        "follow": follow,
        "filters": expressions(options.filter) or None,
    }
    return journal.follow(context.client, query)


def expressions(pairs: list[tuple[str, str]]) -> list[str]:
    """`--filter` values as the native API takes them; `exit!=0` was read as the name `exit!`."""
    return [f"{name}={value}" for name, value in pairs]


def printer(format: str) -> Callable[[bytes, dict[str, Any]], None]:
    """Return what shows one event: a line of a table, or its document."""
    if format == "table" or (not format and sys.stdout.isatty()):
        colour = coloured()
        return lambda line, event: print(table_line(event, colour), flush=True)
    return lambda line, event: print(line.decode(), flush=True)


def _execute(command: str, line: bytes, event: dict[str, Any]) -> int:
    """Run it with the event on standard input; its exit code."""
    import subprocess

    container = event["data"].get("container")
    environment = {"HAWSE_EVENT": event["type"], "HAWSE_SEQ": str(event["seq"])}
    if isinstance(container, dict):
        environment |= {"HAWSE_ID": container["id"], "HAWSE_NAME": container["name"]}
    done = subprocess.run(["/bin/sh", "-c", command], input=line + b"\n", env=os.environ | environment, check=False)
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


# -- Docker's view --


def _docker(context: Context, options: Options) -> int:
    shown = _formatter(options.format)
    since, until = moment(options.since), moment(options.until)
    if options.no_follow:
        since, until = since or "0", until or moment("0s")
    query = {"since": since, "until": until, "filters": filters(options.filter)}
    with context.client.open("GET", "/events", query) as response:
        for line in response.lines():
            print(shown(line), flush=True)
            if options.until_match:
                return 0
    return NO_MATCH if options.until_match else 0


def _formatter(format: str) -> Callable[[bytes], str]:
    if format == "docker-json":
        return lambda line: line.decode()
    if format != "docker":
        from hawse.cli.show.template import Template

        template = Template(format)
        return lambda line: template.render(_fields(json.loads(line)))
    colour = coloured()
    return lambda line: _plain(json.loads(line), colour)


def _fields(event: dict[str, Any]) -> dict[str, Any]:
    """With the legacy names that older templates use."""
    old = {"Status": event.get("status", ""), "ID": event.get("id", ""), "From": event.get("from", "")}
    return {**event, **old, "Time": event["time"], "TimeNano": event["timeNano"], "Scope": event.get("scope", "local")}


def _plain(event: dict[str, Any], colour: bool) -> str:
    """`TIME TYPE ACTION ID (name=value, …)`."""
    actor = event["Actor"]
    attributes = ", ".join(f"{k}={v}" for k, v in sorted((actor.get("Attributes") or {}).items()))
    action = event["Action"]
    if colour:
        word = action.partition(":")[0]
        action = painted(action, "green" if word in _GOOD else "red" if word in _BAD else "yellow")
    line = f"{rfc3339(event['timeNano'])} {event['Type']} {action} {actor['ID']}"
    return f"{line} ({attributes})" if attributes else line


EVENTS = Command(
    _events,
    most=0,
    flags=(
        Flag("ack", kind="bool", help="Acknowledge each event once it is shown (and --exec ended with 0)"),
        Flag("after", help="Begin after this cursor, the id of an event"),
        Flag("exec", help="Run this command for each event, which is on its standard input"),
        Flag("filter", "f", "filter", "Show only what matches, such as type=container.*, container=web or exit!=0"),
        Flag("follow", kind="bool", help="Go on with what comes", default=True),
        Flag("format", help="json, table, docker, docker-json, or a template such as '{{.Type}} {{.Action}}'"),
        Flag("no-follow", kind="bool", help="End with what there is"),
        Flag("since", help="Begin at this time, or so long ago"),
        Flag("subscribe", help="Take what this subscription delivers"),
        Flag("tail", "n", "int", "Begin with the last N that match"),
        Flag("until", help="End at this time"),
        Flag("until-match", kind="bool", help="End with the first event that matches"),
    ),
    note="A table on a terminal, else one CloudEvents JSON document a line.  With --until-match the exit code is 1 when it\n"
    "ended without one.",
)
