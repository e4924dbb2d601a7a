"""`hawse system df`: what images, containers and volumes take."""

from __future__ import annotations

import json
import time

from hawse.cli.context import Context
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.table import aligned, show
from hawse.cli.show.units import duration, ellipsis, short_id, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _df(context: Context, options: Options, _: list[str]) -> int:
    found = context.client.get("/system/df")
    if options.verbose and options.format == "json":
        print(json.dumps(found, ensure_ascii=False))
        return 0
    if options.verbose and options.format:  # as with docker: one text for all of it, not one for each row
        from hawse.cli.show.template import Template

        print(Template(options.format).render(found))
        return 0
    images, containers, volumes = (found.get(k) or [] for k in ("Images", "Containers", "Volumes"))
    if options.verbose:
        _details(images, containers, volumes)
        return 0
    used = [i for i in images if i.get("Containers", 0) > 0]
    running = [c for c in containers if c.get("State") in ("running", "paused", "restarting")]
    mounted = [v for v in volumes if _usage_of(v, "RefCount") > 0]
    rows = [
        _usage("Images", images, used, lambda i: i["Size"]),
        _usage("Containers", containers, running, lambda c: c.get("SizeRw") or 0),
        _usage("Local Volumes", volumes, mounted, lambda v: _usage_of(v, "Size")),
    ]
    show(rows, _HEADINGS, tuple(_HEADINGS), options.format)
    return 0


_HEADINGS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _usage(kind: str, all_: list[Any], active: list[Any], bytes_of: Any) -> dict[str, str]:
    total = sum(map(bytes_of, all_))
    free = total - sum(map(bytes_of, active))
    share = f" ({free * 100 // total}%)" if total else ""
    count, in_use = str(len(all_)), str(len(active))
    return {
        "Type": kind,
        "TotalCount": count,
        "Active": in_use,
        "Size": size(total),
        "Reclaimable": f"{size(free)}{share}",
    }


def _usage_of(volume: dict[str, Any], what: str) -> int:
    return max(0, int((volume.get("UsageData") or {}).get(what, 0)))


def _details(images: list[Any], containers: list[Any], volumes: list[Any]) -> None:
    """Every single one, as with docker's --verbose."""
    now = time.time()
    rows = [["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "CONTAINERS"]]
    for image in images:
        for name in image.get("RepoTags") or ["<none>:<none>"]:
            repository, _, tag = name.rpartition(":")
            age = f"{duration(now - image['Created'])} ago"
            used = str(max(0, image.get("Containers", 0)))
            rows.append([repository, tag, short_id(image["Id"]), age, size(image["Size"], precision=3), used])
    _table("Images", rows)
    rows = [["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"]]
    for one in containers:
        rows.append(
            [
                short_id(one["Id"]),
                one["Image"],
                f'"{ellipsis(one["Command"], 20)}"',
                str(sum(mount["Type"] == "volume" for mount in one["Mounts"])),
                size(one.get("SizeRw") or 0, precision=3),
                f"{duration(now - one['Created'])} ago",
                one["Status"],
                ",".join(name.removeprefix("/") for name in one["Names"]),
            ]
        )
    _table("Containers", rows)
    rows = [["VOLUME NAME", "LINKS", "SIZE"]]
    rows += [[v["Name"], str(_usage_of(v, "RefCount")), size(_usage_of(v, "Size"), precision=3)] for v in volumes]
    _table("Local Volumes", rows)


def _table(kind: str, rows: list[list[str]]) -> None:
    print(f"{kind} space usage:\n")
    print("\n".join(aligned(rows)), end="\n\n")


DF = Command(
    _df,
    most=0,
    flags=(
        Flag("format", help="json, table, or a template"),
        Flag("verbose", "v", "bool", "Show every image, container and volume"),
    ),
)
