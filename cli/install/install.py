"""Everything is looked at first; then it acts, and says in a line each thing that it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.install import apparmor, files, group, systemd
from hawse.cli.install.files import Found
from hawse.cli.install.inventory import CONFIG, DIRECTORIES, PROFILE, UNIT_DIRECTORY, UNITS, Item, inventory
from hawse.cli.install.manifest import MANIFEST, Manifest, load, save
from hawse.cli.install.program import program
from hawse.cli.install.validate import configured_group, validate
from hawse.supervisor.api import wire


def install(context: Context, *, now: bool) -> None:
    """Raises Failure: before the first change where something is in the way."""
    path = program()
    items = inventory(path, systemd=systemd.is_installed(), apparmor=apparmor.is_enabled())
    before = load()
    seen = validate(context, path, items, before, now=now)

    first = before is None or not before.complete
    manifest = _claim(items, before)
    changed = _make(items, seen, manifest)
    if apparmor.is_enabled() and (PROFILE in changed or not apparmor.is_loaded()):
        _load_profile(changed)
    if systemd.is_installed():
        units = [name for name in UNITS if first or f"{UNIT_DIRECTORY}/{name}" in changed]
        _settle_units(context, units, enable=first or now, now=now)
    else:
        _note("no systemd here, so no units: start the daemon with `hawse daemon`")
    if configured_group() != group.GROUP:
        _note(f'{CONFIG} does not have group = "{group.GROUP}": the daemon will serve root only')
    manifest.marks = {item.path: [item.mark] for item in items}
    manifest.complete = True
    save(manifest)
    if not (changed or now):
        print("everything was in place")


def _claim(items: tuple[Item, ...], before: Manifest | None) -> Manifest:
    """Write down what will be ours before it is."""
    manifest = before or Manifest()
    manifest.complete = False
    for item in items:
        marks = manifest.marks.setdefault(item.path, [])
        if item.mark not in marks:
            marks.append(item.mark)
    manifest.group = manifest.group or not group.exists()
    wanted = [*DIRECTORIES, *(os.path.dirname(item.path) for item in items)]
    own = os.path.dirname(MANIFEST)
    for directory in (above := files.missing_directories([own])):
        files.make_directory(directory)
    # its own directory is ours in any case: a killed install may have left it without a manifest
    manifest.directories = sorted({*manifest.directories, *files.missing_directories(wanted), *above, own})
    save(manifest)
    return manifest


def _make(items: tuple[Item, ...], seen: Mapping[str, Found], manifest: Manifest) -> list[str]:
    """Make it and return what was changed by it: paths, and the group's name."""
    changed = []
    if not group.exists():
        group.make()
        print(f"made the group {group.GROUP}: its members may use the socket, so they can do what root can")
        changed.append(group.GROUP)
    for directory in files.missing_directories(manifest.directories):
        files.make_directory(directory)
        print(f"made {directory}")
        changed.append(directory)
    for item in items:
        there = seen[item.path]
        if there is Found.SAME:
            continue
        if item.config and there in (Found.CHANGED, Found.FOREIGN):
            print(f"kept {item.path}, which you changed")
            continue
        files.write(item)
        print(f"linked {item.path} to {item.link}" if item.link else f"wrote {item.path}")
        changed.append(item.path)
    kept = {item.path for item in items}
    for path in [path for path in manifest.marks if path not in kept]:
        if files.remove_ours(path, manifest):
            print(f"removed {path}, which this version does not have")
            changed.append(path)
    return changed


def _load_profile(changed: list[str]) -> None:
    if why := apparmor.load():
        _note(f"the AppArmor profile {PROFILE} is not loaded, so containers run unconfined: {why}")
    else:
        print(f"loaded the AppArmor profile {PROFILE}: containers run under it from their next start on")
        changed.append(PROFILE)


def _settle_units(context: Context, changed: list[str], *, enable: bool, now: bool) -> None:
    if changed and systemd.is_running():
        systemd.reload()
    for path in systemd.overrides():
        _note(f"systemd takes {path} instead of ours; `systemctl revert {os.path.basename(path)}` removes it")
    if enable and not systemd.is_enabled():
        systemd.enable()
        print(f"enabled {' and '.join(UNITS)}: they start with the machine")
    if not systemd.is_running():
        return
    active = systemd.active()
    # Without need the socket is left alone: while it is made anew nobody listens.
    stale = [name for name in UNITS if name not in active or name in changed or name == UNITS[-1]]
    if now:
        systemd.restart(stale)
        print("restarted the daemon; containers ran on" if UNITS[-1] in active else f"started {' and '.join(UNITS)}")
    elif not active:
        print(f"to start it now: systemctl start {' '.join(UNITS)}")
    elif changed or _version(context) != wire.VERSION:
        print(f"an earlier daemon runs still; to replace it (containers run on): systemctl restart {' '.join(stale)}")


def _version(context: Context) -> str:
    """Return the version of the daemon that runs, "" when none answers."""
    try:
        return str(context.client.get("/version")["Version"])
    except Failure:
        return ""


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
