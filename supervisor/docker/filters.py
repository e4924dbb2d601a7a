"""The `filters` parameter: both of Docker's encodings, and what each kind of object matches.  Pure.

Values of one key are alternatives, different keys must all match; labels are the exception, they must all match.  An
unknown key is refused, because silently ignoring it would list (or prune) more than was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hawse.supervisor.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Filters:
    """Key → values, in the order given."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)

    def get(self, key: str) -> tuple[str, ...]:
        return self.values.get(key, ())

    def exact(self, key: str, *candidates: str) -> bool:
        """No such filter, or one of its values is one of the candidates."""
        wanted = self.values.get(key)
        return wanted is None or any(w in candidates for w in wanted)

    def prefix(self, key: str, *candidates: str) -> bool:
        """Match as `exact`, for ids given by their beginning."""
        wanted = self.values.get(key)
        return wanted is None or any(c.startswith(w) for w in wanted for c in candidates)

    def pattern(self, key: str, *candidates: str) -> bool:
        """Match as `exact`, with regular expressions that are found anywhere (literal text when they do not compile)."""
        wanted = self.values.get(key)
        if wanted is None:
            return True
        return any(_found(w, c) for w in wanted for c in candidates)

    def flag(self, key: str) -> bool | None:
        """A filter such as dangling=true; None when it was not given."""
        wanted = self.values.get(key)
        if not wanted:
            return None
        truths = {_boolean(key, w) for w in wanted}
        return truths.pop() if len(truths) == 1 else None

    def labels(self, labels: Mapping[str, str], key: str = "label") -> bool:
        """All of `k` and `k=v` must hold."""
        for wanted in self.values.get(key, ()):
            name, equals, value = wanted.partition("=")
            if name not in labels or (equals and labels[name] != value):
                return False
        return True

    def any_label(self, labels: Mapping[str, str], key: str) -> bool:
        """Any of `k` and `k=v` holds: `label!` keeps what has none of them."""
        return any(
            name in labels and (not equals or labels[name] == value)
            for name, equals, value in (w.partition("=") for w in self.values.get(key, ()))
        )


def parse(text: str, allowed: frozenset[str]) -> Filters:
    """`{"label":["a=b"]}`, or the older `{"label":{"a=b":true}}`.  Raises UserError."""
    if not text:
        return Filters()
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"invalid filter: {_short(text)}", hint='JSON such as {"label":["a=b"]}') from None
    if raw is None:
        return Filters()
    if not isinstance(raw, dict):
        raise UserError(f"invalid filter: {_short(text)}", hint='an object such as {"label":["a=b"]}')
    found: dict[str, tuple[str, ...]] = {}
    for key, given in raw.items():
        if key not in allowed:
            raise UserError(f"invalid filter '{key}'", hint=f"known: {', '.join(sorted(allowed))}")
        if isinstance(given, dict):
            values = tuple(k for k, on in given.items() if on is True)
        elif isinstance(given, list) and all(isinstance(v, str) for v in given):
            values = tuple(given)
        else:
            raise UserError(f"invalid filter '{key}'", hint="its values are a list of strings")
        if values:
            found[key] = values
    return Filters(found)


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return pattern in text


def _boolean(key: str, value: str) -> bool:
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise UserError(f"invalid filter '{key}={value}'", hint="true or false")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
