"""A JSON request body, typed.  Pure: whatever the client sent, reading it gives the wanted type or a UserError that names
the field, the value and what it must be.  null is the same as absent, fields nobody asks for are ignored, and a field is
found in whatever case it is written, as in Docker (Go's encoding/json; docker-py sends detachKeys).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import msgspec

from hawse.supervisor.core.errors import UserError

MAX_SIZE = 65_535  # rows and columns are 16 bits in the kernel


class Body:
    """One JSON object and where it sits in the request ("HostConfig.RestartPolicy")."""

    __slots__ = ("_lower", "_path", "_raw")

    def __init__(self, raw: dict[str, Any], path: str = "") -> None:
        self._raw = raw
        self._path = path
        self._lower: dict[str, Any] | None = None

    def _value(self, name: str) -> Any:
        """An object that is a map (Labels) has keys that differ in case only: what is written as asked for comes first."""
        if name in self._raw:
            return self._raw[name]
        if self._lower is None:
            self._lower = {key.lower(): value for key, value in self._raw.items()}
        return self._lower.get(name.lower())

    def __contains__(self, name: str) -> bool:
        return self._value(name) is not None

    def asks(self, name: str) -> bool:
        """Tell whether a field has a value that asks for something: clients send 0, "", [] and {} for what is not wanted."""
        return bool(self._value(name))

    def shown(self, name: str) -> object:
        """A field's value, whatever it is, for a message."""
        return self._value(name)

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str, default: str = "") -> str:
        value = self._value(name)
        if value is None:
            return default
        return _text(self.path(name), value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._value(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(self.path(name), value, "true or false")
        return value

    def integer(self, name: str, default: int = 0, *, least: int = -(1 << 63), most: int = (1 << 63) - 1) -> int:
        value = self._value(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():  # JSON has one kind of number
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
            raise invalid(self.path(name), value, "an integer")
        if value < least:
            raise invalid(self.path(name), value, f"at least {least}")
        if value > most:
            raise invalid(self.path(name), value, f"at most {most}")
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._value(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise invalid(self.path(name), value, "a list of strings")
        return tuple(_text(f"{self.path(name)}[{i}]", v) for i, v in enumerate(value))

    def integers(self, name: str, *, least: int, most: int) -> tuple[int, ...]:
        """A list of integers."""
        value = self._value(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise invalid(self.path(name), value, "a list of integers")
        elements = Body({str(i): v for i, v in enumerate(value)}, self.path(name))
        return tuple(elements.integer(key, least=least, most=most) for key in elements)

    def words(self, name: str) -> tuple[str, ...] | None:
        """A list of strings or one string, which is a list of one; None when absent (that differs from empty)."""
        value = self._value(name)
        if value is None:
            return None
        return (self.text(name),) if isinstance(value, str) else self.strings(name)

    def strings_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        inner = self.body(name)
        return {key: inner.text(key) for key in inner}

    def __iter__(self) -> Iterator[str]:
        return (_text(self._path, key) for key in self._raw)

    def body(self, name: str) -> Body:
        """An object; an empty one when absent."""
        value = self._value(name)
        if value is None:
            return Body({}, self.path(name))
        if not isinstance(value, dict):
            raise invalid(self.path(name), value, "an object")
        return Body(value, self.path(name))

    def bodies(self, name: str) -> Iterator[Body]:
        """A list of objects."""
        value = self._value(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise invalid(self.path(name), value, "a list of objects")
        for index, item in enumerate(value):
            path = f"{self.path(name)}[{index}]"
            if not isinstance(item, dict):
                raise invalid(path, item, "an object")
            yield Body(item, path)

    def address(self, name: str) -> IPv4Address | None:
        """An IPv4 address; None when absent or empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            return IPv4Address(text)
        except ValueError:
            raise invalid(self.path(name), text, "an IPv4 address such as 10.0.0.5") from None


def parse(data: bytes) -> Body:
    """The body of a request; nothing at all counts as {}.  Raises UserError."""
    if not data.strip():
        return Body({})
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raw = _not_unicode(data)
        if raw is None:
            raise UserError(f"invalid JSON in the request body: {e}") from None
    if raw is None:
        return Body({})
    if not isinstance(raw, dict):
        raise UserError("invalid request body: not a JSON object")
    return Body(raw)


def _not_unicode(data: bytes) -> Any:
    """JSON whose only fault is text that UTF-8 cannot hold: whoever reads that field names it.  None for other faults."""

    def refuse(word: str) -> None:
        raise ValueError(word)  # NaN and the like are no JSON

    try:
        return json.loads(data.decode(errors="surrogateescape"), parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def invalid(path: str, value: object, remedy: str) -> UserError:
    """The one wording of a bad field."""
    shown = (
        json.dumps(value, default=str) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    )
    if isinstance(value, list | dict):
        shown = "a list" if isinstance(value, list) else "an object"
    if len(shown) > 120:
        shown = f"{shown[:117]}..."
    return UserError(f"invalid {path}: {shown}", hint=f"must be {remedy}")


def _text(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise invalid(path, value, "a string")
    if "\0" in value:
        raise invalid(path, value, "a string without NUL bytes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise invalid(path, value, "text that UTF-8 can hold") from None
    return value


def console_size(body: Body) -> tuple[int, ...]:
    """ConsoleSize: rows and columns; empty when absent or [0, 0], docker's word for absent."""
    values = body.integers("ConsoleSize", least=0, most=MAX_SIZE)
    if len(values) not in (0, 2):
        raise invalid(body.path("ConsoleSize"), list(values), "two numbers: rows and columns")
    return values if any(values) else ()
