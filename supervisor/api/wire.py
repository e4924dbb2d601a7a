"""What the server and its clients must agree on: versions, paths, headers and the frame format.

Pure and standard library only: the command-line client imports nothing else of the supervisor, and its start-up time is
counted in milliseconds.  Nothing that needs a record, a clock or a socket belongs here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hawse.supervisor.core.version import VERSION as VERSION

API_VERSION = "1.47"
MIN_API_VERSION = "1.24"

DEFAULT_SOCKET = "/run/hawse/hawse.sock"
NATIVE = "/hawse/v1"
"""Prefix of what Docker's API lacks: events with a cursor, snapshot, info, native records."""

FRAME = struct.Struct(">BxxxL")
"""Head of one frame of a multiplexed stream: which stream, then the payload's length."""
STDIN, STDOUT, STDERR = 0, 1, 2
STREAMS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR}

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
TAR = "application/x-tar"

DETACH_KEYS = "ctrl-p,ctrl-q"  # what a client means that names none; shim/terminal.py has it for itself
PATH_STAT = "X-Docker-Container-Path-Stat"
REQUEST_ID = "X-Hawse-Request-Id"
CURSOR = "X-Hawse-Cursor"
"""Where the native event stream begins: a reader whose connection breaks before the first line goes on from there."""
HEARTBEAT = 15.0
"""Seconds between two heartbeat lines of the native event stream."""


def frame(stream: int, data: bytes) -> bytes:
    """Return one frame of a multiplexed stream."""
    return FRAME.pack(stream, len(data)) + data


def split_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the complete frames off the front of `buffer`; what is incomplete stays for the next read."""
    while len(buffer) >= FRAME.size:
        stream, length = FRAME.unpack_from(buffer)
        end = FRAME.size + length
        if len(buffer) < end:
            return
        payload = bytes(buffer[FRAME.size : end])
        del buffer[:end]
        yield stream, payload
