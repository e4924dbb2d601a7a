"""`hawse wait`: until containers end, or with --for until they come to another point of their lives."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.verbs import lifecycle
from hawse.cli.wire.client import quote
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTS = ("started", "connected", "healthy", "exited", "removed")
_TIMED_OUT = 124  # as timeout(1)


def _wait(context: Context, options: Options, names: list[str]) -> int:
    point = getattr(options, "for")
    if options.given("timeout"):
        _alarm(options.timeout / 1e9, point or "exited")
    if not point:
        return lifecycle.wait_for_end(context, names)
    if point not in POINTS:
        raise Failure(f'invalid argument {point!r} for "--for" flag: must be one of {", ".join(POINTS)}', 125)
    for name in names:
        if code := _until(context, name, point):
            return code
    return 0


def _until(context: Context, name: str, point: str) -> int:
    """Look, and then follow the journal from before the look: nothing can happen between the two."""
    cursor = context.client.get(f"{wire.NATIVE}/info")["cursor"]
    record = _record(context, name)
    if record is None and point in ("exited", "removed"):
        raise Failure(f"No such container: {name}")
    if record is not None and (done := _now(record, point)) is not None:
        return _told(name, point, done, record["container"].get("exit"))
    from hawse.cli.wire import journal

    known = record["container"]["id"] if record is not None else ""
    filters = [f"container={known or name}", "type=container.*", "type=network.connected"]
    for _, event in journal.follow(context.client, {"after": cursor, "follow": True, "filters": filters}):
        done = _then(context, event, point)
        if done is not None:
            return _told(name, point, done, event["data"].get("exit") or event["data"]["container"].get("exit"))
    raise Failure("the stream of events ended")


def _record(context: Context, name: str) -> dict[str, Any] | None:
    """The container, or the last of that name that was removed; for the points of a life a removed one does not count."""
    try:
        found: dict[str, Any] = context.client.get(f"{wire.NATIVE}/containers/{quote(name)}")
    except ApiError as e:
        if e.status != 404:
            raise
        return None
    return found


def _now(record: dict[str, Any], point: str) -> bool | None:
    """Tell whether it is there already; None: not yet, False: it will not come."""
    container = record["container"]
    if record["removed"]:
        return True if point in ("exited", "removed") else None
    alive = container["state"] in ("running", "paused")
    match point:
        case "started":
            return True if alive else None
        case "connected":
            wanted = {request["network"] for request in container["config"]["endpoints"]}
            return True if alive and wanted <= {endpoint["network"] for endpoint in record["endpoints"]} else None
        case "healthy":
            if not container["config"]["healthcheck"]["test"]:
                raise Failure(f"{container['name']} has no health check")
            return True if alive and container["health"] == "healthy" else None
        case "exited":
            # the exit of one that is being removed may have been told before the cursor
            return True if container["state"] in ("exited", "dead", "removing") and container["exit"] else None
    return None


def _then(context: Context, event: dict[str, Any], point: str) -> bool | None:
    match point, event["type"]:
        case "exited", "container.exited" | "container.start_failed" | "container.removed":
            return True
        case "removed", "container.removed":
            return True
        case "started", "container.started":
            return True
        case "connected", "network.connected" | "container.started":
            record = _record(context, event["data"]["container"]["id"])
            return None if record is None else _now(record, point)
        case "healthy", "container.health" if event["data"]["status"] == "healthy":
            return True
        case "started" | "connected" | "healthy", "container.exited" | "container.start_failed" | "container.removed":
            return False
    return None


def _told(name: str, point: str, reached: bool, ended: dict[str, Any] | None) -> int:
    if not reached:
        code = f" with {ended['code']}" if ended else ""
        print(f"hawse: {name} ended{code} before it was {point}", file=sys.stderr)
        return 1
    if point == "exited" and ended is not None:
        print(ended["code"])
    return 0


def _alarm(seconds: float, point: str) -> None:
    import signal

    def late(*_: object) -> None:
        raise Failure(f"not {point} after {seconds:g} s", _TIMED_OUT)

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))


WAIT = Command(
    _wait,
    "CONTAINER [CONTAINER...]",
    least=1,
    flags=(
        Flag("for", help=f"Wait until it is {', '.join(POINTS)}"),
        Flag("timeout", kind="duration", help="Give up after this time, with exit code 124"),
    ),
    completes="container",
    note="With --for started, connected or healthy the container need not exist yet; when it ends first the exit code is 1.",
)
