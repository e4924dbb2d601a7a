"""`hawse images`, `rmi`, `tag`, `history`, and the same under `hawse image`."""

from __future__ import annotations

import time

from hawse.cli.context import Context
from hawse.cli.errors import ApiError
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.listing import each, filters
from hawse.cli.show.table import show
from hawse.cli.show.units import duration, ellipsis, short_id, size
from hawse.cli.wire.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NONE = "<none>"
_HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "Labels": "LABELS",
}
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_HISTORY = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def split_tag(name: str) -> tuple[str, str]:
    """`repo:tag` apart; a colon before a slash is a registry's port."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")


def _ls(context: Context, options: Options, names: list[str]) -> int:
    wanted = list(options.filter)
    if names:
        wanted.append(("reference", names[0]))
    found = context.client.get("/images/json", all=options.all or None, filters=filters(wanted))
    found.sort(key=lambda image: image["Created"], reverse=True)
    if options.quiet:
        for one in found:
            print(one["Id"] if options.no_trunc else short_id(one["Id"]))
        return 0
    now = time.time()
    rows = [row for one in found for row in _rows(one, now, not options.no_trunc)]
    columns = (*_COLUMNS[:2], "Digest", *_COLUMNS[2:]) if options.digests else _COLUMNS
    show(rows, _HEADINGS, columns, options.format)
    return 0


def _rows(one: dict[str, Any], now: float, truncate: bool) -> list[dict[str, Any]]:
    """Return one for each name that the image has."""
    labels = one.get("Labels") or {}
    rest = {
        "ID": short_id(one["Id"]) if truncate else one["Id"],
        "Digest": _NONE,
        "CreatedSince": f"{duration(now - one['Created'])} ago",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(one["Created"])),
        "Size": size(one["Size"], precision=3),
        "Containers": "N/A" if one.get("Containers", -1) < 0 else str(one["Containers"]),
        "Labels": ",".join(f"{k}={v}" for k, v in labels.items()),
    }
    names = [split_tag(name) for name in one.get("RepoTags") or ()] or [(_NONE, _NONE)]
    return [{"Repository": repository, "Tag": tag or _NONE, **rest} for repository, tag in names]


def _rm(context: Context, options: Options, names: list[str]) -> int:
    def remove(name: str) -> str | None:
        query = {"force": options.force or None, "noprune": options.no_prune or None}
        try:
            gone = context.client.delete(f"/images/{quote(name, b'/:@')}", **query)
        except ApiError as e:
            if not (options.force and e.status == 404):
                raise
            return None
        lines = [f"{what}: {line[what]}" for line in gone or () for what in ("Untagged", "Deleted") if what in line]
        return "\n".join(lines) or None

    return each(names, remove)


def _tag(context: Context, options: Options, names: list[str]) -> int:
    source, target = names
    repository, tag = split_tag(target)
    context.client.post(f"/images/{quote(source, b'/:@')}/tag", repo=repository, tag=tag or None)
    return 0


def _history(context: Context, options: Options, names: list[str]) -> int:
    found = context.client.get(f"/images/{quote(names[0], b'/:@')}/history")
    if options.quiet:
        for one in found:
            print(one["Id"] if options.no_trunc else short_id(one["Id"]))
        return 0
    now = time.time()
    rows = [
        {
            "ID": one["Id"] if options.no_trunc else short_id(one["Id"]),
            "CreatedSince": f"{duration(now - one['Created'])} ago",
            "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(one["Created"])),
            "CreatedBy": one["CreatedBy"] if options.no_trunc else ellipsis(one["CreatedBy"], 45),
            "Size": size(one["Size"], precision=3) if options.human else str(one["Size"]),
            "Comment": one.get("Comment") or "",
        }
        for one in found
    ]
    show(rows, _HISTORY, ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"), options.format)
    return 0


LS = Command(
    _ls,
    "[REPOSITORY[:TAG]]",
    most=1,
    flags=(
        Flag("all", "a", "bool", hidden=True),
        Flag("digests", kind="bool", help="Also show digests, which only registries give"),
        Flag("filter", "f", "filter", "Show only what matches, such as dangling=true"),
        FORMAT,
        Flag("no-trunc", kind="bool", help="Show ids in full"),
        Flag("quiet", "q", "bool", "Only show ids"),
    ),
    completes="image",
)
RM = Command(
    _rm,
    "IMAGE [IMAGE...]",
    least=1,
    flags=(
        Flag("force", "f", "bool", "Also when it has several names or stopped containers"),
        Flag("no-prune", kind="bool", hidden=True),
    ),
    completes="image",
)
TAG = Command(_tag, "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", least=2, most=2, completes="image")
HISTORY = Command(
    _history,
    "IMAGE",
    least=1,
    most=1,
    flags=(
        FORMAT,
        Flag("human", "H", "bool", "Show sizes as people read them", default=True),
        Flag("no-trunc", kind="bool", help="Show everything in full"),
        Flag("quiet", "q", "bool", "Only show ids"),
    ),
    completes="image",
)
