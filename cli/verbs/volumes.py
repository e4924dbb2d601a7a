"""`hawse volume create|ls|rm`."""

from __future__ import annotations

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.container_body import key_values
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.listing import each, filters
from hawse.cli.show.table import show
from hawse.cli.wire.client import quote

_HEADINGS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def _create(context: Context, options: Options, names: list[str]) -> int:
    if names and options.name and names[0] != options.name:
        raise Failure("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    body = {
        "Name": options.name or (names[0] if names else ""),
        "Driver": options.driver,
        "DriverOpts": key_values(options.opt),
        "Labels": key_values(options.label),
    }
    print(context.client.post("/volumes/create", body)["Name"])
    return 0


def _ls(context: Context, options: Options, _: list[str]) -> int:
    found = context.client.get("/volumes", filters=filters(options.filter))["Volumes"] or []
    found.sort(key=lambda volume: volume["Name"])
    if options.quiet:
        for one in found:
            print(one["Name"])
        return 0
    rows = []
    for one in found:
        labels = one.get("Labels") or {}
        rows.append(
            {
                "Driver": one["Driver"],
                "Name": one["Name"],
                "Mountpoint": one["Mountpoint"],
                "Scope": one["Scope"],
                "Labels": ",".join(f"{k}={v}" for k, v in labels.items()),
                "Label": lambda name, labels=labels: labels.get(name, ""),
                "CreatedAt": one.get("CreatedAt") or "",
            }
        )
    show(rows, _HEADINGS, ("Driver", "Name"), options.format)
    return 0


def _rm(context: Context, options: Options, names: list[str]) -> int:
    def remove(name: str) -> str | None:
        try:
            context.client.delete(f"/volumes/{quote(name)}", force=options.force or None)
        except ApiError as e:
            if not (options.force and e.status == 404):
                raise
            return None
        return name

    return each(names, remove)


CREATE = Command(
    _create,
    "[VOLUME]",
    most=1,
    flags=(
        Flag("driver", "d", help="Driver", default="local"),
        Flag("label", kind="list", help="Set metadata, NAME=VALUE"),
        Flag("name", hidden=True),
        Flag("opt", "o", "list", "Set an option of the driver, NAME=VALUE"),
    ),
)
LS = Command(
    _ls,
    most=0,
    flags=(
        Flag("filter", "f", "filter", "Show only what matches, such as dangling=true"),
        FORMAT,
        Flag("quiet", "q", "bool", "Only show names"),
    ),
)
RM = Command(
    _rm,
    "VOLUME [VOLUME...]",
    least=1,
    flags=(Flag("force", "f", "bool", "Do not mind a volume that is not there"),),
    completes="volume",
)
