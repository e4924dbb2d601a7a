"""Which events a reader wants: `type=container.*`, `label=tier=web`, `network=front`, `exit!=0`.  Pure.

Values of one key are alternatives, different keys must all match, labels must all match, and nothing that a `!=` names may
match.  The part that decides is read from the stored JSON without building the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.events import FACT_TYPES, decode_fact
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.docker import event_words

_EXPRESSION = re.compile(r"([a-z]+)(!?=)(.*)\Z", re.DOTALL)


class _Config(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}
    image: str = ""


class _Object(msgspec.Struct, frozen=True):
    id: str = ""
    name: str = ""
    config: _Config = _Config()
    labels: dict[str, str] = {}
    tags: tuple[str, ...] = ()


class _Endpoint(msgspec.Struct, frozen=True):
    network: str = ""


class _Exit(msgspec.Struct, frozen=True):
    code: int | None = None


class _Glance(msgspec.Struct, frozen=True):
    """What filters look at."""

    container: _Object | None = None
    container_id: str = ""
    network: _Object | str = ""
    volume: _Object | None = None
    image: _Object | None = None
    endpoint: _Endpoint | None = None
    endpoints: tuple[_Endpoint, ...] = ()
    exit: _Exit | None = None
    handler: str = ""


_GLANCE = msgspec.json.Decoder(_Glance)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Made by `parse`.  `types` are globs that narrow what is read at all; `wants` decides about what was read."""

    expressions: tuple[str, ...]
    types: tuple[str, ...]
    _tests: tuple[Callable[[Stored, _Glance], bool], ...]

    def wants(self, row: Stored) -> bool:
        if not self._tests:
            return True
        glance = _GLANCE.decode(row.body)
        return all(test(row, glance) for test in self._tests)


def parse(expressions: Iterable[str]) -> EventFilter:
    """Raises UserError for an unknown key, an unknown type, a value that is none."""
    given = tuple(expressions)
    positive: dict[str, list[str]] = {}
    negative: list[tuple[str, str]] = []
    for expression in given:
        match = _EXPRESSION.match(expression.strip())
        key = match[1] if match else ""
        if match is None or key not in _KEYS:
            raise UserError(
                f"invalid filter {expression!r}", hint=f"KEY=VALUE or KEY!=VALUE; keys: {', '.join(sorted(_KEYS))}"
            )
        _check(key, match[3])
        if match[2] == "=":
            positive.setdefault(key, []).append(match[3])
        else:
            negative.append((key, match[3]))
    actions = positive.pop("event", [])
    types = tuple(_globs(positive.pop("type", []), actions))
    if any(event_words.is_conditional(action) for action in actions):  # else the type says all
        positive["event"] = actions
    tests = [_any(key, values) for key, values in positive.items() if key != "label"]
    tests += [_any("label", [value]) for value in positive.get("label", ())]
    tests += [_none(key, value) for key, value in negative]
    return EventFilter(given, types, tuple(tests))


def _globs(types: list[str], actions: list[str]) -> Iterable[str]:
    """Both, when both are given, must hold."""
    wanted = {name for name in FACT_TYPES if not types or any(_of_type(name, value) for value in types)}
    if actions:
        wanted &= {name for name in FACT_TYPES if any(_of_action(name, value) for value in actions)}
    return () if not types and not actions else (sorted(wanted) or ("nothing",))


def _check(key: str, value: str) -> None:
    if key == "type" and not any(_of_type(name, value) for name in FACT_TYPES):
        raise UserError(f"invalid filter 'type={value}': no such type of event", hint=f"one of {', '.join(FACT_TYPES)}")
    if key == "event" and not any(_of_action(name, value) for name in FACT_TYPES):
        raise UserError(
            f"invalid filter 'event={value}': no such event",
            hint=f"the last part of a type, such as exited, or one of docker's: {', '.join(event_words.ALL_WORDS)}",
        )
    if key == "exit" and not value.lstrip("-").isdecimal():
        raise UserError(f"invalid filter 'exit={value}'", hint="an exit code, such as exit!=0")


def _of_type(name: str, value: str) -> bool:
    """A glob over types, or docker's kind of object."""
    return fnmatchcase(name, value if "." in value or "*" in value else f"{value}.*")


def _of_action(name: str, value: str) -> bool:
    """The last part of a type, or docker's word for it or for some of its kind."""
    return name in event_words.types(value) or name.partition(".")[2] == value


def _any(key: str, values: list[str]) -> Callable[[Stored, _Glance], bool]:
    test = _KEYS[key]
    return lambda row, glance: any(test(row, glance, value) for value in values)


def _none(key: str, value: str) -> Callable[[Stored, _Glance], bool]:
    test = _KEYS[key]
    if key == "exit":  # what has no exit has no other exit code either
        return lambda row, glance: glance.exit is not None and not test(row, glance, value)
    return lambda row, glance: not test(row, glance, value)


def _event(row: Stored, glance: _Glance, value: str) -> bool:
    if not event_words.is_conditional(value):
        return _of_action(row.type, value)
    return row.type in event_words.types(value) and value in event_words.words(decode_fact(row.type, row.body))


def _container(row: Stored, glance: _Glance, value: str) -> bool:
    if glance.container is None:
        return bool(glance.container_id) and glance.container_id.startswith(value)
    return glance.container.name == value or glance.container.id.startswith(value)


def _network(row: Stored, glance: _Glance, value: str) -> bool:
    if isinstance(glance.network, _Object):
        return glance.network.name == value or glance.network.id.startswith(value)
    if glance.network or glance.endpoint is not None:
        return value in (glance.network, glance.endpoint.network if glance.endpoint else "")
    return any(endpoint.network == value for endpoint in glance.endpoints)


def _labelled(row: Stored, glance: _Glance, value: str) -> bool:
    labels: Mapping[str, str] = {}
    if glance.container is not None:
        labels = glance.container.config.labels
    else:
        for holder in (glance.network, glance.volume):
            if isinstance(holder, _Object):
                labels = holder.labels
    name, equals, wanted = value.partition("=")
    return name in labels and (not equals or labels[name] == wanted)


def _image(row: Stored, glance: _Glance, value: str) -> bool:
    if glance.container is not None:
        image = glance.container.config.image
        return image != "" and value in (image, image.partition(":")[0])
    return glance.image is not None and (
        glance.image.id == value or any(value in (tag, tag.rpartition(":")[0]) for tag in glance.image.tags)
    )


def _exit(row: Stored, glance: _Glance, value: str) -> bool:
    return glance.exit is not None and glance.exit.code == int(value)


_KEYS: dict[str, Callable[[Stored, Any, str], bool]] = {
    "type": lambda row, glance, value: _of_type(row.type, value),
    "event": _event,
    "subject": lambda row, glance, value: fnmatchcase(row.subject, value),
    "cause": lambda row, glance, value: row.cause == value,
    "container": _container,
    "network": _network,
    "volume": lambda row, glance, value: glance.volume is not None and glance.volume.name == value,
    "image": _image,
    "label": _labelled,
    "exit": _exit,
    "hook": lambda row, glance, value: glance.handler == value,
}
