"""`hawse top`, `port` and `diff`: small questions about one container."""

from __future__ import annotations

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Options
from hawse.cli.show.table import aligned
from hawse.cli.wire.client import quote

_CHANGES = ("C", "A", "D")


def _top(context: Context, options: Options, arguments: list[str]) -> int:
    name, *words = arguments
    found = context.client.get(f"/containers/{quote(name)}/top", ps_args=" ".join(words) or None)
    print("\n".join(aligned([found["Titles"], *(found["Processes"] or ())], minimum=20)))
    return 0


def _port(context: Context, options: Options, arguments: list[str]) -> int:
    name = arguments[0]
    found = context.client.get(f"/containers/{quote(name)}/json")["NetworkSettings"]["Ports"] or {}
    if len(arguments) == 1:
        for inside, places in sorted(found.items(), key=lambda item: _order(item[0])):
            for place in places or ():
                print(f"{inside} -> {_address(place)}")
        return 0
    port, _, proto = arguments[1].partition("/")
    wanted = f"{port}/{proto or 'tcp'}"
    if not found.get(wanted):
        raise Failure(f"no public port '{arguments[1]}' published for {name}")
    for place in found[wanted]:
        print(_address(place))
    return 0


def _order(port: str) -> tuple[int, str]:
    number, _, proto = port.partition("/")
    return int(number), proto


def _address(place: dict[str, str]) -> str:
    address = place["HostIp"]
    return f"{f'[{address}]' if ':' in address else address}:{place['HostPort']}"


def _diff(context: Context, options: Options, names: list[str]) -> int:
    for change in context.client.get(f"/containers/{quote(names[0])}/changes") or ():
        print(_CHANGES[change["Kind"]], change["Path"])
    return 0


# After the container's name everything is ps's, its flags too.
TOP = Command(_top, "CONTAINER [ps OPTIONS]", least=1, interspersed=False, completes="running")
PORT = Command(_port, "CONTAINER [PRIVATE_PORT[/PROTO]]", least=1, most=2, completes="container")
DIFF = Command(_diff, "CONTAINER", least=1, most=1, completes="container")
