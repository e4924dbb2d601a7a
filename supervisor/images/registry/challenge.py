"""How a registry says what credentials it wants: WWW-Authenticate (RFC 9110, 11.6.1; RFC 6750, 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.request import parse_http_list

_SCHEME = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s+(?=\S)|\Z)(?!=)")
_PARAMETER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way that is open: a scheme in small letters, and its parameters by their names in small letters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def realm(self) -> str:
        return self.parameters.get("realm", "")


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Read all challenges; a header may have several, and commas part both them and their parameters."""
    found: list[Challenge] = []
    for header in headers:
        for part in parse_http_list(header):
            part = part.strip()
            if begins := _SCHEME.match(part):
                found.append(Challenge(begins[1].lower()))
                part = part[begins.end() :]
            if found and (pair := _PARAMETER.match(part)):
                found[-1].parameters.setdefault(pair[1].lower(), _unquoted(pair[2]))
    return found


def preferred(challenges: Iterable[Challenge]) -> Challenge | None:
    """The one that we can answer: Bearer before Basic, of which it is the narrower."""
    known = {challenge.scheme: challenge for challenge in challenges}
    return known.get("bearer") or known.get("basic")


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
