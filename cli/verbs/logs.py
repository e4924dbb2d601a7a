"""`hawse logs`."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire.client import quote
from hawse.supervisor.api import wire


def _logs(context: Context, options: Options, names: list[str]) -> int:
    since = until = None
    if options.since or options.until:
        from hawse.cli.show.times import moment

        since, until = moment(options.since), moment(options.until)
    query = {
        "stdout": True,
        "stderr": True,
        "follow": options.follow or None,
        "timestamps": options.timestamps or None,
        "details": options.details or None,
        "tail": options.tail,
        "since": since,
        "until": until,
    }
    with context.client.open("GET", f"/containers/{quote(names[0])}/logs", query) as response:
        framed = response.headers.get("content-type") == wire.MULTIPLEXED_STREAM
        buffer = bytearray()
        for piece in response:
            if not framed:
                _write(wire.STDOUT, piece)
                continue
            buffer += piece
            for stream, payload in wire.split_frames(buffer):
                _write(stream, payload)
    return 0


def _write(stream: int, data: bytes) -> None:
    out = sys.stderr if stream == wire.STDERR else sys.stdout
    out.buffer.write(data)
    out.buffer.flush()


LOGS = Command(
    _logs,
    "CONTAINER",
    least=1,
    most=1,
    flags=(
        Flag("details", kind="bool", help="Show the labels and variables named by --log-opt"),
        Flag("follow", "f", "bool", "Stay and show what comes"),
        Flag("since", help="Only what is not older than this time or duration"),
        Flag("tail", "n", help="How many lines from the end", default="all"),
        Flag("timestamps", "t", "bool", "Show when each line was written"),
        Flag("until", help="Only what is older than this time or duration"),
    ),
    completes="container",
)
