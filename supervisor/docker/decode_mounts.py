"""Binds, Mounts, Volumes and Tmpfs → the model's mounts.  Pure: whether a host path exists is the engine's question."""

from __future__ import annotations

import posixpath
import re

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import MountSpec
from hawse.supervisor.core.names import check_volume_name
from hawse.supervisor.docker.body import Body, invalid

PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_IGNORED = frozenset({"z", "Z", "consistent", "cached", "delegated", "bind", "rbind"})
"""Options that ask for what does not exist here (SELinux labels) or is what happens anyway."""
_NO_BIND_OPTIONS = 'invalid mount config for type "volume": field BindOptions must not be specified'


def mounts(body: Body, outer: Body) -> tuple[MountSpec, ...]:
    """All of a container's mounts.  Two on one target are refused, except that an anonymous volume gives way."""
    found: dict[str, MountSpec] = {}
    explicit = [
        *(bind(text, f"{outer.path('Binds')}[{i}]") for i, text in enumerate(outer.strings("Binds"))),
        *(replace(_mount(given), listed=True) for given in outer.bodies("Mounts")),
        *_tmpfs(outer.body("Tmpfs")),
    ]
    for mount in explicit:
        if mount.target in found:
            raise UserError(f"Duplicate mount point: {mount.target}")
        found[mount.target] = mount
    volumes = body.body("Volumes")
    for target in volumes:
        clean = _target(volumes.path(target), target)
        found.setdefault(clean, MountSpec(type="volume", target=clean))
    return tuple(found.values())


def bind(text: str, path: str) -> MountSpec:
    """`SOURCE:TARGET[:OPTIONS]`, or `TARGET` alone for an anonymous volume."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise UserError(f"invalid volume specification: '{text}'", hint="HOST:CONTAINER[:ro]")
    if len(parts) == 1:
        return MountSpec(type="volume", target=_target(path, parts[0]))
    source, target = parts[0], _target(path, parts[1])
    read_only, propagation, nocopy = _options(parts[2] if len(parts) == 3 else "", text)
    if source.startswith("/"):
        return MountSpec(
            type="bind", source=posixpath.normpath(source), target=target, read_only=read_only, options=propagation
        )
    check_volume_name(source)
    if propagation:
        raise UserError(f"invalid volume specification: '{text}': {_NO_BIND_OPTIONS}")
    return MountSpec(type="volume", source=source, target=target, read_only=read_only, nocopy=nocopy)


def _options(text: str, whole: str) -> tuple[bool, str, bool]:
    read_only, propagation, nocopy = False, "", False
    for option in filter(None, text.split(",")):
        if option == "ro":
            read_only = True
        elif option == "nocopy":
            nocopy = True
        elif option in PROPAGATION:
            propagation = option
        elif option != "rw" and option not in _IGNORED:
            raise UserError(f"invalid volume specification: '{whole}': invalid mode: {option}", hint="ro or rw")
    return read_only, propagation, nocopy


def _mount(given: Body) -> MountSpec:
    """Decode one of HostConfig.Mounts (--mount)."""
    kind = given.text("Type")
    target = _target(given.path("Target"), given.text("Target"))
    source, read_only = given.text("Source"), given.flag("ReadOnly")
    if kind in ("volume", "tmpfs") and given.body("BindOptions").text("Propagation"):
        raise UserError(_NO_BIND_OPTIONS.replace("volume", kind))
    if kind in ("bind", "volume", "tmpfs"):
        _refuse_unsupported(given)
    if kind == "bind":
        if not source.startswith("/"):
            raise UserError(
                f"invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
            )
        propagation = given.body("BindOptions").text("Propagation")
        if propagation and propagation not in PROPAGATION:
            raise invalid(
                given.path("BindOptions.Propagation"), propagation, f"one of {', '.join(sorted(PROPAGATION))}"
            )
        return MountSpec(
            type="bind", source=posixpath.normpath(source), target=target, read_only=read_only, options=propagation
        )
    if kind == "volume":
        if source:
            check_volume_name(source)
        options = given.body("VolumeOptions")
        if (driver := options.body("DriverConfig").text("Name")) not in ("", "local"):
            raise invalid(given.path("VolumeOptions.DriverConfig.Name"), driver, "local: hawse has no volume plugins")
        return MountSpec(
            type="volume",
            source=source,
            target=target,
            read_only=read_only,
            nocopy=options.flag("NoCopy"),
            labels=tuple(f"{k}={v}" for k, v in options.strings_map("Labels").items()),
        )
    if kind == "tmpfs":
        if source:
            raise invalid(given.path("Source"), source, "absent for a tmpfs")
        options = given.body("TmpfsOptions")
        size, mode = options.integer("SizeBytes", 0, least=0), options.integer("Mode", 0, least=0, most=0o7777)
        words = [f"size={size}"] if size else []
        words += [f"mode={mode:o}"] if mode else []
        return MountSpec(type="tmpfs", target=target, read_only=read_only, options=",".join(words))
    raise invalid(given.path("Type"), kind, "bind, volume or tmpfs")


_UNSUPPORTED = (
    ("BindOptions", "NonRecursive", "what is mounted below the source is there as well"),
    ("BindOptions", "ReadOnlyNonRecursive", "what is mounted below a read-only source is read-only as well"),
    ("VolumeOptions", "Subpath", "a part of a volume cannot be mounted"),
    ("TmpfsOptions", "Options", "give them with --tmpfs"),
)


def _refuse_unsupported(given: Body) -> None:
    for place, field, why in _UNSUPPORTED:
        options = given.body(place)
        if options.asks(field):
            raise invalid(options.path(field), options.shown(field), f"absent: {why}")
    driver = given.body("VolumeOptions").body("DriverConfig")
    if driver.asks("Options"):
        raise invalid(driver.path("Options"), {}, "absent: a volume is a directory; mount others with type=bind")


def _tmpfs(given: Body) -> list[MountSpec]:
    """{"/run": "size=64m,ro"}.  Flags are checked here because the kernel's own message would not say which mount."""
    found = []
    for key in given:
        options = given.text(key)
        kept = []
        for option in filter(None, options.split(",")):
            name, _, value = option.partition("=")
            if (name in ("size", "nr_inodes", "nr_blocks") and re.fullmatch(r"\d{1,18}[kmgKMG%]?", value)) or (
                (name == "mode" and re.fullmatch(r"[0-7]{1,5}", value))
                or (name in ("uid", "gid") and re.fullmatch(r"\d{1,9}", value))
                or option in ("exec", "noexec", "suid", "nosuid")  # the last word counts
            ):
                kept.append(option)
            elif option not in ("ro", "rw", "nodev", "dev", "noatime", "relatime"):
                raise invalid(given.path(key), options, f"tmpfs options; {option!r} is not one")
        found.append(
            MountSpec(
                type="tmpfs",
                target=_target(given.path(key), key),
                read_only="ro" in options.split(","),
                options=",".join(kept),
            )
        )
    return found


def _target(path: str, target: str) -> str:
    if not target.startswith("/"):
        raise UserError(
            f"invalid mount path: '{target}' mount path must be absolute",
            hint=f"in {path}, a path inside the container",
        )
    clean = posixpath.normpath(target)
    clean = "/" + clean.lstrip("/")
    if clean == "/":
        raise UserError("invalid volume specification: destination can't be '/'", hint=f"in {path}")
    return clean
