"""Sizes, durations and ages, read and written as Docker's client does."""

from __future__ import annotations

import re

_BINARY = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgtp])i?)?b?\Z", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d*)?\Z|[+-]?\.\d+\Z", re.ASCII)
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)\Z", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def parse_bytes(text: str) -> int:
    """`100m`, `1.5g`, `64KiB`, `1024` as bytes, all units powers of 1024.  Raises ValueError."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * _BINARY[(match[2] or "").lower()])


def parse_nano_cpus(text: str) -> int:
    """`1.5` cores as billionths of one.  Raises ValueError."""
    if not _DECIMAL.match(text):
        raise ValueError(f"failed to parse {text} as a rational number")
    whole, _, fraction = text.lstrip("+-").partition(".")
    if len(fraction.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    nano = int(whole or "0") * 10**9 + int(fraction[:9].ljust(9, "0") or "0")
    return -nano if text.startswith("-") else nano


def parse_duration(text: str) -> int:
    """`1h30m`, `1.5s`, `500ms`, `0` as nanoseconds.  Raises ValueError."""
    if text == "0":
        return 0
    match = _DURATION.match(text)
    if not match:
        raise ValueError(f'time: invalid duration "{text}"')
    total = sum(round(float(number) * _NANOSECONDS[unit]) for number, unit in _PART.findall(match[2]))
    return -total if match[1] == "-" else total


def size(count: float, *, binary: bool = False, precision: int = 4) -> str:
    """`1.21kB`, `64MiB`: as many digits as Docker shows."""
    base = 1024.0 if binary else 1000.0
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB") if binary else ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    index = 0
    while count >= base and index < len(units) - 1:
        count /= base
        index += 1
    return f"{count:.{precision}g}{units[index]}"


def duration(seconds: float) -> str:
    """`3 minutes`, `About an hour`: coarse, as people say it."""
    whole = int(max(0.0, seconds))
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < _MINUTE:
        return f"{whole} seconds"
    if whole < 2 * _MINUTE:
        return "About a minute"
    if whole < _HOUR:
        return f"{whole // _MINUTE} minutes"
    hours = (whole + _HOUR // 2) // _HOUR
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    days = whole // _DAY
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    if days < 730:
        return f"{days // 30} months"
    return f"{days // 365} years"


def short_id(text: str) -> str:
    """The twelve digits that people read, of a plain id or one with its algorithm before it."""
    return text.removeprefix("sha256:")[:12]


def ellipsis(text: str, width: int) -> str:
    """At most `width` characters, the last one an ellipsis when something was cut."""
    return text if len(text) <= width else text[: width - 1] + "…"
