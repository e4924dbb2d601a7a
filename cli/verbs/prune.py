"""`prune` of containers, images, networks and volumes, and of everything."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.listing import filters
from hawse.cli.show.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# kind → (the answer's field, its heading)
_DELETED = {
    "containers": ("ContainersDeleted", "Deleted Containers:"),
    "networks": ("NetworksDeleted", "Deleted Networks:"),
    "volumes": ("VolumesDeleted", "Deleted Volumes:"),
    "images": ("ImagesDeleted", "Deleted Images:"),
}


def _confirm(warning: str, options: Options) -> None:
    """Ask, unless --force.  Raises Failure when the answer is not yes."""
    if options.force:
        return
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("prune was cancelled")


def _prune(context: Context, kind: str, wanted: dict[str, list[str]] | None) -> int:
    """Remove what is unused, tell what went, and return the bytes that are free again."""
    answer: dict[str, Any] = context.client.post(f"/{kind}/prune", filters=wanted) or {}
    field, heading = _DELETED[kind]
    if gone := answer.get(field):
        print(heading)
        for one in gone:
            if isinstance(one, dict):
                print("\n".join(f"{what.lower()}: {one[what]}" for what in ("Untagged", "Deleted") if one.get(what)))
            else:
                print(one)
        print()
    return int(answer.get("SpaceReclaimed") or 0)


def _one(kind: str, warning: str) -> Command:
    def act(context: Context, options: Options, _: list[str]) -> int:
        _confirm(warning, options)
        wanted = filters(options.filter)
        if kind == "images" and options.all:
            wanted = {**(wanted or {}), "dangling": ["false"]}
        if kind == "volumes" and options.all:
            wanted = {**(wanted or {}), "all": ["true"]}
        free = _prune(context, kind, wanted)
        if kind != "networks":
            print(f"Total reclaimed space: {size(free)}")
        return 0

    more = (Flag("all", "a", "bool", _ALL[kind]),) if kind in _ALL else ()
    return Command(act, most=0, flags=(*more, *_FLAGS))


_ALL = {"images": "Also images that have a name", "volumes": "Also volumes that have a name"}
_FLAGS = (
    Flag("filter", kind="filter", help="Only what matches, such as until=24h or label=a=b"),
    Flag("force", "f", "bool", "Do not ask"),
)


def _system(context: Context, options: Options, _: list[str]) -> int:
    volumes = " - all anonymous volumes not used by at least one container\n" if options.volumes else ""
    images = "images without at least one container associated to them" if options.all else "dangling images"
    _confirm(
        "This will remove:\n - all stopped containers\n - all networks not used by at least one container\n"
        f"{volumes} - all {images}\n",
        options,
    )
    wanted = filters(options.filter)
    free = _prune(context, "containers", wanted) + _prune(context, "networks", wanted)
    if options.volumes:
        free += _prune(context, "volumes", None)
    free += _prune(context, "images", {**(wanted or {}), "dangling": [str(not options.all).lower()]})
    print(f"Total reclaimed space: {size(free)}")
    return 0


CONTAINERS = _one("containers", "This will remove all stopped containers.")
IMAGES = _one("images", "This will remove all images without a name and a container.")
NETWORKS = _one("networks", "This will remove all custom networks not used by at least one container.")
VOLUMES = _one("volumes", "This will remove anonymous local volumes not used by at least one container.")
SYSTEM = Command(
    _system,
    most=0,
    flags=(
        Flag("all", "a", "bool", "All images that no container uses, not only those without a name"),
        *_FLAGS,
        Flag("volumes", kind="bool", help="Anonymous volumes as well"),
    ),
)
