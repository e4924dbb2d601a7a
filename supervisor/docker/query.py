"""The query string, typed.  Pure: every bad value becomes a UserError that names the parameter, the value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from hawse.supervisor.core.errors import UserError

FALSE = frozenset({"", "0", "no", "false", "none"})
"""What Docker reads as false, in any case; everything else is true."""

MAX_PARAMETERS = 1000

_UNIX = re.compile(r"(-?\d{1,12})(?:\.(\d{1,9}))?\Z")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+\Z")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_MAX_NS = 1 << 62


class Query:
    """Typed access to the parameters of one request."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> Query:
        """Read what stands behind the question mark, still percent-encoded.  Raises UserError."""
        try:
            return cls(parse_qs(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
        except ValueError as e:
            raise UserError(f"invalid query string: {e}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def texts(self, name: str) -> Sequence[str]:
        """Every value of a parameter that may be repeated."""
        return self._values.get(name, ())

    def text(self, name: str, default: str = "") -> str:
        """The first one counts, as in Docker."""
        return next(iter(self.texts(name)), default)

    def flag(self, name: str, default: bool = False) -> bool:
        value = next(iter(self.texts(name)), None)
        return default if value is None else value.strip().lower() not in FALSE

    def integer(self, name: str, default: int, *, least: int = -(1 << 31), most: int = (1 << 31) - 1) -> int:
        value = self.text(name)
        if value == "":
            return default
        try:
            number = int(value)
        except ValueError:
            raise UserError(f"invalid value for {name}: {value!r}", hint="a whole number") from None
        if not least <= number <= most:
            raise UserError(f"invalid value for {name}: {value!r}", hint=f"between {least} and {most}")
        return number

    def timestamp(self, name: str, now: int) -> int | None:
        """Nanoseconds since the epoch, None when absent; "0" counts as absent for `since`, as Docker's clients send it."""
        value = self.text(name)
        return parse_timestamp(name, value, now) if value else None


def parse_timestamp(name: str, value: str, now: int) -> int:
    """`1700000000`, `1700000000.123456789`, RFC 3339, a date, or a duration before `now` such as `10m`; in ns."""
    if match := _UNIX.match(value):
        whole, part = match.groups()
        fraction = int((part or "").ljust(9, "0"))
        return int(whole) * 10**9 + (-fraction if whole.startswith("-") else fraction)
    if _DURATION.match(value):
        return now - parse_duration(value)
    try:
        moment = datetime.fromisoformat(_trim_fraction(value))
    except ValueError:
        raise UserError(
            f"invalid value for {name}: {value!r}",
            hint="seconds since 1970, an RFC 3339 time such as 2026-01-31T12:00:00Z, or a duration such as 10m",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _since_epoch(moment) + _sub_microseconds(value)


def parse_duration(value: str) -> int:
    """`1h30m`, `1.5s`, `500ms` in ns.  Raises ValueError."""
    if not _DURATION.match(value):
        raise ValueError(value)
    total = 0
    for number, unit in _DURATION_PART.findall(value):
        total += int(float(number) * _UNITS[unit])
    if total > _MAX_NS:
        raise ValueError(value)
    return total


def _trim_fraction(value: str) -> str:
    """At most microseconds: datetime knows no more."""
    return re.sub(r"(\.\d{6})\d+", r"\1", value)


def _sub_microseconds(value: str) -> int:
    match = re.search(r"\.\d{6}(\d{1,3})", value)
    return int(match.group(1).ljust(3, "0")) if match else 0


def _since_epoch(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
