"""The functions of `--format` templates: Go's own and those that Docker adds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERB = re.compile(r"%([-+ 0#]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


def shown(value: Any) -> str:
    """Return it as Go prints a value: `map[a:1 b:2]`, `[x y]`, `true`, `<no value>`."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float():
            return f"{value:g}"
        case Mapping():
            return f"map[{' '.join(f'{k}:{_inner(v)}' for k, v in sorted(value.items()) if not callable(v))}]"
        case list() | tuple():
            return f"[{' '.join(_inner(v) for v in value)}]"
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else shown(value)


def _json(value: Any) -> str:
    if isinstance(value, Mapping):
        value = {k: v for k, v in value.items() if not callable(v)}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise LookupError("index of nil pointer")
        if isinstance(value, Mapping):
            value = value.get(key, "")  # Go gives the type's zero value
        elif isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            raise LookupError(f"index out of range: {key}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if len(bounds) > 1 else value[bounds[0] if bounds else 0 :]


def _join(values: Any, separator: str) -> str:
    return separator.join(shown(v) for v in values or ())


def _printf(format: str, *values: Any) -> str:
    rest = iter(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        value = next(rest, "%!(MISSING)")
        if verb == "q":
            text = json.dumps(shown(value), ensure_ascii=False)
        elif verb in "dxXof" and isinstance(value, int | float):
            return f"%{flags}{width or ''}{f'.{precision}' if precision else ''}{verb}" % value
        else:
            text = shown(value)
            text = text[: int(precision)] if precision else text
        return text.ljust(int(width or 0)) if "-" in flags else text.rjust(int(width or 0))

    return _VERB.sub(one, format)


def _pad(text: str, left: int, right: int) -> str:
    return f"{' ' * left}{text}{' ' * right}" if text else text


def _all(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _any(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "index": _index,
    "slice": _slice,
    "join": _join,
    "split": lambda text, separator: text.split(separator),
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "truncate": lambda text, width: text[:width],
    "pad": _pad,
    "len": len,
    "print": lambda *values: "".join(map(shown, values)),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": _printf,
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": _all,
    "or": _any,
    "not": lambda value: not value,
}
