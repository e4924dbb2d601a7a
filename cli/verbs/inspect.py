"""`hawse inspect`, and `inspect` of each kind of object."""

from __future__ import annotations

import json
import sys

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def _inspect(context: Context, options: Options, names: list[str]) -> int:
    if options.type and options.type not in _PATHS:
        raise Failure(f"unknown type: {options.type!r}: must be one of {', '.join(_PATHS)}")
    return show(context, options, names, (options.type,) if options.type else tuple(_PATHS))


def show(context: Context, options: Options, names: list[str], kinds: tuple[str, ...]) -> int:
    """Everything found is printed, then every error; the exit code is 1 when there was one."""
    template = None
    if options.format not in ("", "json"):
        from hawse.cli.show.template import Template

        try:
            template = Template(options.format)
        except Failure as e:
            raise Failure(e.message, 64) from None
    found: list[dict[str, Any]] = []
    errors = []
    for name in names:
        try:
            found.append(_find(context, name, kinds, options.size))
        except ApiError as e:
            errors.append(e.message)
    if template is not None:
        for one in found:
            print(template.render(one))
    elif options.format == "json":
        print(json.dumps(found, ensure_ascii=False, separators=(",", ":")))
    else:
        print(json.dumps(found, indent=4, ensure_ascii=False))
    sys.stdout.flush()
    for error in errors:
        print(f"hawse: {error}", file=sys.stderr)
    return int(bool(errors))


def _find(context: Context, name: str, kinds: tuple[str, ...], size: bool) -> dict[str, Any]:
    """The first kind that has an object of that name.  Raises ApiError: the only kind's own, or that of containers."""
    first: ApiError | None = None
    for kind in kinds:
        query = {"size": True} if size and kind == "container" else {}
        try:
            found: dict[str, Any] = context.client.get(_PATHS[kind].format(quote(name, b"/:@")), **query)
            return found
        except ApiError as e:
            if e.status != 404:
                raise
            first = first or e
    assert first is not None
    if len(kinds) > 1:
        first.message = first.message.replace("No such container", "No such object")
    raise first


def _of(kind: str) -> Command:
    def act(context: Context, options: Options, names: list[str]) -> int:
        return show(context, options, names, (kind,))

    size = Flag("size", "s", "bool", "Show how much disk is used", hidden=kind != "container")
    return Command(act, f"{kind.upper()} [{kind.upper()}...]", least=1, flags=(_FORMAT, size), completes=kind)


_FORMAT = Flag("format", "f", help="json, or a template such as '{{.State.Pid}}'")

INSPECT = Command(
    _inspect,
    "NAME|ID [NAME|ID...]",
    least=1,
    flags=(
        _FORMAT,
        Flag("size", "s", "bool", "Show how much disk is used"),
        Flag("type", help="Look only among container, image, network or volume"),
    ),
    completes="object",
)
CONTAINER, IMAGE, NETWORK, VOLUME = (_of(kind) for kind in _PATHS)
