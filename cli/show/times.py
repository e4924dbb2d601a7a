"""Times on the command line: `--since 10m`, `--until 2026-01-31T12:00:00Z`, and how they are shown."""

from __future__ import annotations

import re
import time
from datetime import datetime

from hawse.cli.errors import Failure
from hawse.cli.show.units import parse_duration

_UNIX = re.compile(r"\d+(\.\d{1,9})?\Z")
_FRACTION = re.compile(r"\.(\d{1,9})\d*")


def moment(text: str) -> str | None:
    """A point in time as the API takes it, seconds since 1970; durations are before now.  Raises Failure."""
    if not text:
        return None
    if _UNIX.match(text):
        return text
    try:
        before = parse_duration(text)
    except ValueError:
        return _seconds(text)
    return decimal(time.time_ns() - before)


def decimal(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def nanoseconds(text: str) -> int:
    """RFC 3339 with up to nine decimals.  Raises ValueError."""
    fraction = _FRACTION.search(text)
    whole = datetime.fromisoformat(_FRACTION.sub("", text))
    return int(whole.timestamp()) * 10**9 + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def rfc3339(nanoseconds: int) -> str:
    """In the local zone, with nanoseconds, as Docker shows an event's time."""
    whole = datetime.fromtimestamp(nanoseconds // 10**9).astimezone().isoformat()
    zone = max(whole.rfind("+"), whole.rfind("-"))
    offset = whole[zone:]
    return f"{whole[:zone]}.{nanoseconds % 10**9:09d}{'Z' if offset == '+00:00' else offset}"


def seconds(text: str) -> int:
    """RFC 3339 as whole seconds since 1970, 0 for Go's zero time."""
    return 0 if text.startswith("0001-") else nanoseconds(text) // 10**9


def _seconds(text: str) -> str:
    try:
        return decimal(nanoseconds(text))  # without a zone it is this machine's time
    except ValueError:
        raise Failure(
            f'invalid value for time: "{text}" is not seconds since 1970, an RFC 3339 time or a duration such as 10m'
        ) from None
