"""`hawse history`: an image's layers, as Docker; or what the journal knows of a container, a network, an address, a port.

`hawse network leases`: whose which address is, or was.
"""

from __future__ import annotations

import json

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.table import show
from hawse.cli.show.times import moment
from hawse.cli.verbs import images
from hawse.cli.verbs.events import printer
from hawse.cli.wire.client import quote
from hawse.supervisor.api import wire

_LEASES = {
    "Network": "NETWORK",
    "Address": "ADDRESS",
    "Name": "CONTAINER",
    "State": "STATE",
    "Container": "CONTAINER ID",
}


def _history(context: Context, options: Options, names: list[str]) -> int:
    """An image of that name comes first: that is what Docker's users mean."""
    try:
        return images.HISTORY.action(context, options, names)
    except ApiError as e:
        if e.status != 404:
            raise
    return _story(context, options, names)


def _story(context: Context, options: Options, names: list[str]) -> int:
    if options.format not in ("", "json", "table"):
        raise Failure(f"invalid format {options.format!r}: json or table", 125)
    tell = printer(options.format)
    path = f"{wire.NATIVE}/history/{quote(names[0], b'/:')}"
    with context.client.open("GET", path, {"limit": options.limit or None}) as response:
        for line in response.lines():
            tell(line, json.loads(line))
    return 0


def _leases(context: Context, options: Options, names: list[str]) -> int:
    found = context.client.get(f"{wire.NATIVE}/leases", at=moment(options.at), network=names[0] if names else None)
    show(found, _LEASES, ("Network", "Address", "Name", "State"), options.format)
    return 0


_LIMIT = Flag("limit", "n", "int", "Show only the last N events")

HISTORY = Command(
    _history,
    "IMAGE|NAME|IP|PORT",
    least=1,
    most=1,
    flags=(*images.HISTORY.flags, _LIMIT),
    completes="image",
    note="An image's layers; of anything else the events that concern it, as far back as the journal reaches.",
)
STORY = Command(
    _story,
    "CONTAINER|IP|PORT",
    least=1,
    most=1,
    flags=(Flag("format", help="json or table"), _LIMIT),
    completes="container",
)
LEASES = Command(
    _leases,
    "[NETWORK]",
    most=1,
    flags=(Flag("at", help="Show them as they were at this time, or so long ago"), FORMAT),
    completes="network",
)
