"""`hawse system install`: the command line of it."""

from __future__ import annotations

import os

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.install.install import install
from hawse.cli.install.uninstall import uninstall


def _run(context: Context, options: Options, _: list[str]) -> int:
    if options.now and options.uninstall:
        raise Failure("--now and --uninstall exclude each other")
    if os.geteuid() != 0:
        raise Failure("must be root: it writes to /etc and /usr/local (sudo hawse system install)")
    context.autostart = False  # asking a daemon for its version is no reason to start one
    if options.uninstall:
        uninstall(context)
    else:
        install(context, now=options.now)
    return 0


INSTALL = Command(
    _run,
    most=0,
    flags=(
        Flag(
            "now", kind="bool", help="Also start the units, or restart the daemon after an upgrade; containers run on"
        ),
        Flag("uninstall", kind="bool", help="Take it all away; state, changed configuration and containers stay"),
    ),
    note="Puts the systemd units (enabled), shell completions, the man page, /etc/hawse and the group hawse in place, for "
    "this hawse. Repeat it after an upgrade. What you changed in /etc/hawse is kept.",
)
