"""`hawse events`: Docker's view of the journal, from any time that is still kept, and on."""

from __future__ import annotations

import json

from hawse.cli.context import Context
from hawse.cli.flags import Command, Flag, Options
from hawse.cli.listing import filters
from hawse.cli.table import coloured, painted
from hawse.cli.times import moment, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_GOOD = frozenset({"start", "connect", "unpause", "create"})
_BAD = frozenset({"die", "oom", "kill", "destroy", "disconnect"})


def _events(context: Context, options: Options, _: list[str]) -> int:
    shown = _formatter(options.format)
    query = {"since": moment(options.since), "until": moment(options.until), "filters": filters(options.filter)}
    with context.client.open("GET", "/events", query) as response:
        for line in response.lines():
            print(shown(line), flush=True)
    return 0


def _formatter(format: str) -> Callable[[bytes], str]:
    if format == "json":
        return lambda line: line.decode()
    if format:
        from hawse.cli.template import Template

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
        Flag("filter", "f", "filter", "Show only what matches, such as type=network or container=web"),
        Flag("format", help="json, or a template such as '{{.Type}} {{.Action}}'"),
        Flag("since", help="Begin at this time, or so long ago"),
        Flag("until", help="End at this time"),
    ),
)
