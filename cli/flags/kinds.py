"""The types of flags' values: how each is read, what it is when not given.  A text that is none is a ValueError.

What reads the rarer ones is imported when one is used.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), value.strip()


def _bytes(text: str) -> int:
    from hawse.cli.show.units import parse_bytes

    return -1 if text == "-1" else parse_bytes(text)


def _decimal(text: str) -> int:
    from hawse.cli.show.units import parse_nano_cpus

    return parse_nano_cpus(text)


def _duration(text: str) -> int:
    from hawse.cli.show.units import parse_duration

    return parse_duration(text)


def _environment(text: str) -> str:
    if not text or text.startswith("="):
        raise ValueError(f"invalid environment variable: {text}")
    return text


def _mount(text: str) -> dict[str, Any]:
    from hawse.cli.flags.mounts import parse_mount

    return parse_mount(text)


def _ulimit(text: str) -> dict[str, Any]:
    from hawse.cli.flags.limits import parse_ulimit

    return parse_ulimit(text)


KINDS: dict[str, Callable[[str], Any]] = {
    "bool": parse_bool,
    "string": str,
    "int": _integer,
    "list": str,
    "env": _environment,
    "filter": _filter,
    "bytes": _bytes,
    "decimal": _decimal,
    "duration": _duration,
    "mount": _mount,
    "ulimit": _ulimit,
}
REPEATED = frozenset({"list", "env", "filter", "mount", "ulimit"})
DEFAULTS: dict[str, Any] = {
    "bool": False,
    "string": "",
    "int": 0,
    "bytes": 0,
    "decimal": 0,
    "duration": 0,
    **{kind: [] for kind in ("list", "env", "filter", "mount", "ulimit")},
}
WORDS = {"env": "list"}
