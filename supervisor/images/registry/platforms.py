"""Platforms, and which image of an index is meant for one.  Pure.

An operating system, an architecture and perhaps a variant, in Go's words, as image-spec's image index has them.  What runs
where besides the very same is containerd's table (platforms/compare.go, read 2026-08): an arm runs older arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from hawse.supervisor.core.errors import NotFound, UserError

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}
"""What the kernel's names are called; what is not here has the same name."""
_VARIANTS = {"armv7l": "v7", "armv6l": "v6"}
_ALIASES = {"x86-64": "amd64", "armhf": "arm", "armel": "arm", "i386": "386"} | ARCHITECTURES
_USUAL = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
"""The variant that is meant where none is said."""
_OLDER_ARMS = ("v8", "v7", "v6", "v5")
_NO_IMAGE = "unknown"
"""The architecture of what lies in an index beside its images: attestations."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What an image was made for."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Offer(Protocol):
    """An entry of an index."""

    @property
    def platform(self) -> Platform | None: ...


T = TypeVar("T", bound=Offer)


def of_machine(machine: str) -> Platform:
    """The platform of a kernel that calls its machine so (uname -m)."""
    return Platform(os="linux", architecture=ARCHITECTURES.get(machine, machine), variant=_VARIANTS.get(machine, ""))


def parse(text: str, own: Platform) -> Platform:
    """Read `--platform`: os/architecture[/variant], or one of the first two, and the rest is this machine's.

    Raises UserError.
    """
    parts = text.lower().split("/")
    if not text or len(parts) > 3 or not all(part.replace("-", "").replace("_", "").isalnum() for part in parts):
        raise UserError(f"{text!r}: invalid platform", hint="os/architecture[/variant], for example linux/arm64/v8")
    if len(parts) == 1:
        if parts[0] in ("linux", "windows", "darwin", "freebsd"):
            return Platform(os=parts[0], architecture=own.architecture, variant=own.variant)
        parts.insert(0, own.os)
    os, architecture, variant = (*parts, "")[:3]
    if not variant and architecture in ("armhf", "armel"):
        variant = "v7" if architecture == "armhf" else "v6"
    return Platform(os=os, architecture=_ALIASES.get(architecture, architecture), variant=variant)


def runs(image: Platform, wanted: Platform) -> bool:
    """Tell whether an image of that platform is one for the wanted platform."""
    return _rank(image, wanted) is not None


def choose(offers: Sequence[T], wanted: Platform) -> T:
    """The entry of an index for that platform; of several, the newest variant that runs there, and of those the first.

    An entry that names no platform is taken where none that does is right.  Raises NotFound with what there is.
    """
    ranked = [
        (rank, at)
        for at, offer in enumerate(offers)
        if offer.platform is not None and (rank := _rank(offer.platform, wanted)) is not None
    ]
    if ranked:
        return offers[min(ranked)[1]]
    for offer in offers:
        if offer.platform is None:
            return offer
    raise NotFound(
        f"no matching manifest for {wanted} in the manifest list entries",
        hint=f"there is {', '.join(_names(offers)) or 'none for any platform'}",
    )


def _rank(image: Platform, wanted: Platform) -> int | None:
    """Tell how far below the wanted variant it is; None where it does not run."""
    if (image.os, image.architecture) != (wanted.os, wanted.architecture) or image.architecture == _NO_IMAGE:
        return None
    had = image.variant or _USUAL.get(image.architecture, "")
    asked = wanted.variant or _USUAL.get(wanted.architecture, "")
    if had == asked:
        return 0
    if image.architecture == "arm" and had in _OLDER_ARMS and asked in _OLDER_ARMS:
        below = _OLDER_ARMS.index(had) - _OLDER_ARMS.index(asked)
        return below if below > 0 else None
    return None


def _names(offers: Iterable[Offer]) -> list[str]:
    found = [str(offer.platform) for offer in offers if offer.platform and offer.platform.architecture != _NO_IMAGE]
    return list(dict.fromkeys(found))
