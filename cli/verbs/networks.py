"""`hawse network create|ls|rm|connect|disconnect`."""

from __future__ import annotations

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.container_body import key_values
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.listing import each, filters
from hawse.cli.show.table import show
from hawse.cli.show.units import short_id
from hawse.cli.wire.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Subnet": "SUBNET",
    "Gateway": "GATEWAY",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
_COLUMNS = ("ID", "Name", "Driver", "Scope", "Subnet")


def _create(context: Context, options: Options, names: list[str]) -> int:
    pools = []
    if len(options.gateway) > max(1, len(options.subnet)):
        raise Failure("every gateway needs a subnet of its own")
    for index, subnet in enumerate(options.subnet or ([""] if options.gateway else [])):
        pool = {"Subnet": subnet, "Gateway": options.gateway[index] if index < len(options.gateway) else ""}
        pools.append({key: value for key, value in pool.items() if value})
    if len(options.ip_range) > len(options.subnet):
        raise Failure("every ip-range needs a subnet of its own")
    for pool, range_ in zip(pools, options.ip_range, strict=False):
        pool["IPRange"] = range_
    body = {
        "Name": names[0],
        "Driver": options.driver,
        "Internal": options.internal,
        "Attachable": options.attachable,
        "EnableIPv6": options.ipv6,
        "IPAM": {"Driver": options.ipam_driver, "Config": pools},
        "Options": key_values(options.opt),
        "Labels": key_values(options.label),
    }
    answer = context.client.post("/networks/create", body)
    print(answer["Id"])
    return 0


def _ls(context: Context, options: Options, _: list[str]) -> int:
    found = sorted(context.client.get("/networks", filters=filters(options.filter)), key=lambda n: n["Name"])
    if options.quiet:
        for one in found:
            print(one["Id"] if options.no_trunc else short_id(one["Id"]))
        return 0
    show([_row(one, not options.no_trunc) for one in found], _HEADINGS, _COLUMNS, options.format)
    return 0


def _row(one: dict[str, Any], truncate: bool) -> dict[str, Any]:
    pools = (one.get("IPAM") or {}).get("Config") or []
    labels = one.get("Labels") or {}
    return {
        "ID": short_id(one["Id"]) if truncate else one["Id"],
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one["Scope"],
        "Subnet": ",".join(pool["Subnet"] for pool in pools if pool.get("Subnet")),
        "Gateway": ",".join(pool["Gateway"] for pool in pools if pool.get("Gateway")),
        "IPv4": str(bool(pools)).lower(),
        "IPv6": str(bool(one.get("EnableIPv6"))).lower(),
        "Internal": str(bool(one.get("Internal"))).lower(),
        "Labels": ",".join(f"{k}={v}" for k, v in labels.items()),
        "Label": lambda name: labels.get(name, ""),
        "CreatedAt": one.get("Created") or "",
    }


def _rm(context: Context, options: Options, names: list[str]) -> int:
    def remove(name: str) -> str | None:
        try:
            context.client.delete(f"/networks/{quote(name)}")
        except ApiError as e:
            if not (options.force and e.status == 404):
                raise
            return None
        return name

    return each(names, remove)


def _connect(context: Context, options: Options, names: list[str]) -> int:
    settings: dict[str, Any] = {}
    if options.ip:
        settings["IPAMConfig"] = {"IPv4Address": options.ip}
    if options.alias:
        settings["Aliases"] = options.alias
    if options.mac_address:
        settings["MacAddress"] = options.mac_address
    network, container = names
    context.client.post(f"/networks/{quote(network)}/connect", {"Container": container, "EndpointConfig": settings})
    return 0


def _disconnect(context: Context, options: Options, names: list[str]) -> int:
    network, container = names
    context.client.post(f"/networks/{quote(network)}/disconnect", {"Container": container, "Force": options.force})
    return 0


CREATE = Command(
    _create,
    "NETWORK",
    least=1,
    most=1,
    flags=(
        Flag("attachable", kind="bool", hidden=True),
        Flag("driver", "d", help="Driver", default="bridge"),
        Flag("gateway", kind="list", help="The bridge's own address in the subnet"),
        Flag("internal", kind="bool", help="Let nothing out of the network"),
        Flag("ip-range", kind="list", help="Give containers addresses of this part of the subnet"),
        Flag("ipam-driver", default="default", hidden=True),
        Flag("ipv6", kind="bool", hidden=True),
        Flag("label", kind="list", help="Set metadata, NAME=VALUE"),
        Flag("opt", "o", "list", "Set an option of the driver, NAME=VALUE"),
        Flag("subnet", kind="list", help="Subnet, such as 10.10.10.0/24; a host part names the gateway"),
    ),
)
LS = Command(
    _ls,
    most=0,
    flags=(
        Flag("filter", "f", "filter", "Show only what matches, such as driver=bridge"),
        FORMAT,
        Flag("no-trunc", kind="bool", help="Show ids in full"),
        Flag("quiet", "q", "bool", "Only show ids"),
    ),
)
RM = Command(
    _rm,
    "NETWORK [NETWORK...]",
    least=1,
    flags=(Flag("force", "f", "bool", "Do not mind a network that is not there"),),
    completes="network",
)
CONNECT = Command(
    _connect,
    "NETWORK CONTAINER",
    least=2,
    most=2,
    flags=(
        Flag("alias", kind="list", help="One more name on the network"),
        Flag("ip", help="IPv4 address"),
        Flag("mac-address", help="MAC address"),
    ),
    completes="network container",
)
DISCONNECT = Command(
    _disconnect,
    "NETWORK CONTAINER",
    least=2,
    most=2,
    flags=(Flag("force", "f", "bool", "Also when the container does not run"),),
    completes="network container",
)
