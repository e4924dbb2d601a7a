"""What an install put in place is taken away; what is the administrator's and what the containers are stays."""

from __future__ import annotations

import os

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.install import apparmor, files, group, systemd
from hawse.cli.install.inventory import CONFIG, PROFILE, UNIT_DIRECTORY, UNITS
from hawse.cli.install.manifest import MANIFEST, Manifest, load, save
from hawse.cli.install.program import program

STATE = "/var/lib/hawse"
_OWN = os.path.dirname(MANIFEST)


def uninstall(context: Context) -> None:
    """Raises Failure; it can be repeated then."""
    manifest = load()
    if manifest is None:
        files.remove_empty([_OWN])  # one that was killed at its end has left it
        print(f"nothing to take away: there is no {MANIFEST}, which `hawse system install` writes")
        return
    manifest.complete = False  # whatever is left of it when this is killed
    save(manifest)
    if systemd.is_installed() and any(f"{UNIT_DIRECTORY}/{name}" in manifest.marks for name in UNITS):
        _stop(context)
    for path in manifest.marks:
        if files.remove_ours(path, manifest):
            print(f"removed {path}")
        elif os.path.lexists(path):
            print(f"kept {path}, which you changed")
    if (
        PROFILE in manifest.marks and apparmor.is_loaded()
    ):  # taking it from the kernel would let loose whoever runs under it
        print(f"the AppArmor profile of {PROFILE} stays loaded until the machine restarts")
    if systemd.is_running():
        systemd.reload()
    _remove_group(manifest)
    for directory in files.remove_empty([path for path in manifest.directories if path != _OWN]):
        print(f"removed {directory}")
    os.unlink(MANIFEST)
    files.remove_empty([_OWN])
    if os.path.isdir(STATE):
        print(f"kept {STATE}: containers, images, volumes and the journal")


def _stop(context: Context) -> None:
    running = _running(context)
    if systemd.is_running() and (active := systemd.active()):
        systemd.stop(active)
        print(f"stopped {' and '.join(active)}")
    if systemd.is_enabled():
        systemd.disable()
        print(f"disabled {' and '.join(UNITS)}")
    if running:
        hawse = program()
        print(
            f"{running} container{'s run' if running > 1 else ' runs'} on without a daemon; to stop what runs: "
            f"{hawse} stop $({hawse} ps -q) && {hawse} system shutdown"
        )


def _running(context: Context) -> int:
    """Return how many containers run, as far as a daemon tells."""
    try:
        return len(context.client.get("/containers/json"))
    except Failure:
        return 0


def _remove_group(manifest: Manifest) -> None:
    if not manifest.group or not group.exists():
        return
    if members := group.members():
        print(f"kept the group {group.GROUP}, which has members: {', '.join(members)}")
    elif os.path.lexists(CONFIG):
        print(f"kept the group {group.GROUP}, which {CONFIG} names")
    else:
        group.remove()
        print(f"removed the group {group.GROUP}")
