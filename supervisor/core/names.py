"""Names and ids that hawse invents, and the rule for those that users give.  Randomness comes in as an argument."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerId

if TYPE_CHECKING:
    from random import Random

VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
LONGEST = 255
"""Of a volume's name, which is a directory's (NAME_MAX), and so of all: what one verb takes, no other has to refuse."""

MOODS = (
    "able brisk calm clever cosy daring eager fair fearless fleet gentle glad golden hardy honest jolly keen kind "
    "lively loyal lucky merry mighty nimble patient plucky proud quick quiet ready salty sharp silent snug solid "
    "spry steady stout sunny swift tidy trusty vivid warm wise witty"
).split()
SHIPS = (
    "anchor ballast beacon bosun bowline buoy cable capstan clipper compass crew current cutter deck dinghy dock "
    "ferry fender fathom galley gull harbour hatch hawser helm hull jetty keel kelp ketch lantern lagoon log mast "
    "mooring oar pilot port quay rigging rope rudder sail schooner sextant skiff sloop spar stern swell tide tiller "
    "topsail tug voyage wake wharf winch yawl"
).split()


def container_id(random: Random) -> ContainerId:
    """64 hex digits; docker rejects nothing else as an id.  Never all decimal in its first 12 (it is the hostname)."""
    while (fresh := f"{random.getrandbits(256):064x}")[:12].isdecimal():
        pass
    return ContainerId(fresh)


def container_name(random: Random) -> str:
    """Like docker's: two words; the caller asks again when it is taken."""
    return f"{random.choice(MOODS)}_{random.choice(SHIPS)}"


def check_container_name(name: str) -> str:
    """The name without a leading slash.  Raises UserError in docker's words."""
    name = name.removeprefix("/")
    if not VALID.match(name):
        raise UserError(f"Invalid container name ({name[:80]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    _check_length("container", name)
    return name


def check_volume_name(name: str) -> None:
    """Raises UserError in docker's words."""
    if not VALID.match(name):
        raise UserError(
            f'"{name[:80]}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
            "allowed. If you intended to pass a host directory, use absolute path"
        )
    _check_length("volume", name)


def _check_length(kind: str, name: str) -> None:
    if len(name) > LONGEST:
        raise UserError(
            f"invalid {kind} name: {name[:40]}... has {len(name)} characters", hint=f"at most {LONGEST} are possible"
        )
