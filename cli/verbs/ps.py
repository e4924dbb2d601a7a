"""`hawse ps`: the containers, with the address and ports that were recorded when they were plugged in."""

from __future__ import annotations

import json
import time

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.listing import filters
from hawse.cli.show.table import show
from hawse.cli.show.times import moment
from hawse.cli.show.units import duration, ellipsis, short_id, size
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "IP": "IP",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "LocalVolumes": "LOCAL VOLUMES",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "IP", "Ports", "Names")
_COMMAND_WIDTH = 20


def _ps(context: Context, options: Options, _: list[str]) -> int:
    limit = 1 if options.latest else options.last
    at = moment(options.at)
    if at is not None:
        if options.filter or options.size or limit > 0:
            raise Failure("--at cannot be used with --filter, --size, --last or --latest", 125)
        found = context.client.get(f"{wire.NATIVE}/past/containers", at=at, all=options.all or None)
    else:
        found = context.client.get(
            "/containers/json",
            all=options.all or limit > 0 or None,
            limit=limit if limit > 0 else None,
            size=options.size or "Size" in options.format or None,
            filters=filters(options.filter),
        )
    if options.quiet:
        for one in found:
            print(one["Id"] if options.no_trunc else short_id(one["Id"]))
        return 0
    now = time.time() if at is None else float(at)
    rows = [row(one, now, not options.no_trunc) for one in found]
    columns = (*_COLUMNS, "Size") if options.size else _COLUMNS
    show(rows, HEADINGS, columns, options.format, _paint)
    return 0


def row(one: dict[str, Any], now: float, truncate: bool) -> dict[str, Any]:
    """Show one container of the list as the fields of a template."""
    labels = one.get("Labels") or {}
    networks = (one.get("NetworkSettings") or {}).get("Networks") or {}
    mounts = [m.get("Name") or m.get("Source") or "" for m in one.get("Mounts") or ()]
    command = one.get("Command") or ""
    return {
        "ID": short_id(one["Id"]) if truncate else one["Id"],
        "Image": one.get("Image") or "<no image>",
        "Command": json.dumps(ellipsis(command, _COMMAND_WIDTH) if truncate else command, ensure_ascii=False),
        "RunningFor": f"{duration(now - one['Created'])} ago",
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(one["Created"])),
        "Status": one.get("Status") or "",
        "State": one.get("State") or "",
        "IP": ",".join(n["IPAddress"] for n in networks.values() if n.get("IPAddress")),
        "Ports": ports(one.get("Ports") or []),
        "Names": ",".join(name.removeprefix("/") for name in one.get("Names") or ()),
        "Size": _size(one),
        "Labels": ",".join(f"{k}={v}" for k, v in labels.items()),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(ellipsis(m, 15) if truncate else m for m in mounts),
        "Networks": ",".join(networks),
        "LocalVolumes": str(sum(m.get("Type") == "volume" for m in one.get("Mounts") or ())),
    }


def ports(published: list[dict[str, Any]]) -> str:
    """`443/tcp, 0.0.0.0:8080->80/tcp`: neighbours are one range where the number is the same outside and inside."""
    runs: dict[tuple[str, str], list[list[int]]] = {}  # (address, protocol) → [first, last]
    moved = []
    for p in sorted(
        published, key=lambda p: (p["PrivatePort"], p.get("IP") or "", p.get("PublicPort") or 0, p["Type"])
    ):
        address, port, proto = p.get("IP") or "", p["PrivatePort"], p["Type"]
        if address and p.get("PublicPort") != port:
            moved.append(f"{_host(address)}:{p.get('PublicPort')}->{port}/{proto}")
            continue
        found = runs.setdefault((address, proto), [])
        if found and port == found[-1][1] + 1:
            found[-1][1] = port
        else:
            found.append([port, port])
    return ", ".join([_run(*key, *run) for key, all_ in runs.items() for run in all_] + moved)


def _run(address: str, proto: str, first: int, last: int) -> str:
    numbers = f"{first}-{last}" if last > first else str(first)
    return f"{_host(address)}:{numbers}->{numbers}/{proto}" if address else f"{numbers}/{proto}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _size(one: dict[str, Any]) -> str:
    written = size(one.get("SizeRw") or 0, precision=3)
    whole = one.get("SizeRootFs") or 0
    return f"{written} (virtual {size(whole, precision=3)})" if whole else written


def _paint(field: str, text: str) -> str:
    if field != "Status":
        return ""
    if text.startswith("Up"):
        return "yellow" if "(Paused)" in text or "(unhealthy)" in text else "green"
    if text.startswith(("Exited (0)", "Created")):
        return "dim"
    return "yellow" if text.startswith("Restarting") else "red"


PS = Command(
    _ps,
    most=0,
    flags=(
        Flag("all", "a", "bool", "Show all containers, not only those that run"),
        Flag("at", help="Show them as they were at this time, or so long ago"),
        Flag("filter", "f", "filter", "Show only what matches, such as status=exited or label=a=b"),
        FORMAT,
        Flag("last", "n", "int", "Show the N containers made last, in any state", default=-1),
        Flag("latest", "l", "bool", "Show the container made last, in any state"),
        Flag("no-trunc", kind="bool", help="Show ids and commands in full"),
        Flag("quiet", "q", "bool", "Only show ids"),
        Flag("size", "s", "bool", "Show how much disk is used"),
    ),
)
