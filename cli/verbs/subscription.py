"""`hawse subscription create|ls|inspect|rm|pause|resume|replay`."""

from __future__ import annotations

import json

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.listing import each
from hawse.cli.show.table import show
from hawse.cli.show.times import moment
from hawse.cli.verbs.events import expressions
from hawse.cli.wire.client import quote
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = f"{wire.NATIVE}/subscriptions"
_HEADINGS = {
    "Name": "NAME",
    "Lag": "LAG",
    "Outstanding": "OUT",
    "Lost": "LOST",
    "State": "STATE",
    "AckDeadline": "DEADLINE",
    "Filters": "FILTERS",
    "Cursor": "CURSOR",
    "CreatedAt": "CREATED AT",
}
_COLUMNS = ("Name", "State", "Lag", "Outstanding", "Lost", "AckDeadline", "Filters")


def _create(context: Context, options: Options, names: list[str]) -> int:
    if len([place for place in (options.after, options.since, options.replay_existing) if place]) > 1:
        raise Failure("--after, --since and --replay-existing exclude each other", 125)
    body = {
        "Name": names[0],
        "Filters": expressions(options.filter),
        "AckDeadline": options.ack_deadline,
        "After": options.after,
        "Since": "0" if options.replay_existing else moment(options.since) or "",
    }
    print(context.client.post(_ROOT, body)["Name"])
    return 0


def _ls(context: Context, options: Options, _: list[str]) -> int:
    found = context.client.get(_ROOT)
    if options.quiet:
        for one in found:
            print(one["Name"])
        return 0
    rows = [
        {**one, "Filters": " ".join(one["Filters"]), "State": "paused" if one["Paused"] else "active"} for one in found
    ]
    show(rows, _HEADINGS, _COLUMNS, options.format)
    return 0


def _inspect(context: Context, _: Options, names: list[str]) -> int:
    print(json.dumps([context.client.get(f"{_ROOT}/{quote(name)}") for name in names], indent=4))
    return 0


def _rm(context: Context, _: Options, names: list[str]) -> int:
    def remove(name: str) -> str:
        context.client.delete(f"{_ROOT}/{quote(name)}")
        return name

    return each(names, remove)


def _post(verb: str) -> Callable[[Context, Options, list[str]], int]:
    def act(context: Context, _: Options, names: list[str]) -> int:
        def tell(name: str) -> str:
            context.client.post(f"{_ROOT}/{quote(name)}/{verb}")
            return name

        return each(names, tell)

    return act


def _replay(context: Context, options: Options, names: list[str]) -> int:
    if options.after and options.since:
        raise Failure("--after and --since exclude each other", 125)
    body = {"After": options.after, "Since": moment(options.since) or ""}
    context.client.post(f"{_ROOT}/{quote(names[0])}/replay", body)
    print(names[0])
    return 0


_PLACES = (
    Flag("after", help="Begin after this cursor, the id of an event"),
    Flag("since", help="Begin at this time, or so long ago"),
)
_NAMES = "SUBSCRIPTION [SUBSCRIPTION...]"

CREATE = Command(
    _create,
    "SUBSCRIPTION",
    least=1,
    most=1,
    flags=(
        Flag("ack-deadline", help="Deliver again what is not acknowledged in this time", default="30s"),
        *_PLACES,
        Flag("filter", "f", "filter", "Deliver only what matches, such as type=container.* or exit!=0"),
        Flag("replay-existing", kind="bool", help="Begin with the oldest event that is kept"),
    ),
    note="Without --after, --since or --replay-existing it begins now.",
)
LS = Command(_ls, most=0, flags=(FORMAT, Flag("quiet", "q", "bool", "Only show names")))
INSPECT = Command(_inspect, _NAMES, least=1)
RM = Command(_rm, _NAMES, least=1)
PAUSE = Command(_post("pause"), _NAMES, least=1)
RESUME = Command(_post("resume"), _NAMES, least=1)
REPLAY = Command(
    _replay,
    "SUBSCRIPTION",
    least=1,
    most=1,
    flags=_PLACES,
    note="Without --after or --since everything that is kept is delivered again.",
)
