"""From a request's method and path to its route: the table decides, nothing is asked of anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

from hawse.supervisor.api.routes import ROUTES, Route
from hawse.supervisor.api.wire import API_VERSION, MIN_API_VERSION
from hawse.supervisor.core.errors import NotFound, UserError

_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,4})(?=/)")
_LATEST = tuple(map(int, API_VERSION.split(".")))
_OLDEST = tuple(map(int, MIN_API_VERSION.split(".")))


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    params: Mapping[str, str]
    version: tuple[int, int]


class Router:
    """Finds the route of a request; by the path's first segment first, so that the cost does not grow with the table."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[str, list[Route]] = {}
        for route in routes:
            if "{" in route.path:
                self._patterns.setdefault(_segment(route.path), []).append(route)
            else:
                self._exact[route.method, route.path] = route

    def match(self, method: str, path: str) -> Match:
        """`path` as it came, still percent-encoded.  Raises NotFound, or UserError for a version nobody speaks."""
        version = (_LATEST[0], _LATEST[1])
        if versioned := _VERSION.match(path):
            version = (int(versioned[1]), int(versioned[2]))
            _check(version)
            path = path[versioned.end() :]
        if route := self._exact.get((method, path)):
            return Match(route, {}, version)
        for route in self._patterns.get(_segment(path), ()):
            if route.method == method and (found := _pattern(route.path).fullmatch(path)):
                return Match(route, {key: unquote(value) for key, value in found.groupdict().items()}, version)
        raise NotFound("page not found", hint=f"no endpoint {method} {path[:200]}")


def _check(version: tuple[int, ...]) -> None:
    name = ".".join(map(str, version))
    if version > _LATEST:
        raise UserError(f"client version {name} is too new. Maximum supported API version is {API_VERSION}")
    if version < _OLDEST:
        raise UserError(
            f"client version {name} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )


def _segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """Compiled when first needed: all of them together would be a good part of the daemon's start."""
    escaped = re.escape(path).replace(r"\{ref\}", "(?P<ref>[^/]+)").replace(r"\{name\}", "(?P<name>.+)")
    return re.compile(escaped)
