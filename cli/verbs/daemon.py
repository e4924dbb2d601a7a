"""`hawse daemon`: this process becomes the daemon."""

from __future__ import annotations

import os
import signal

from hawse.cli.context import Context
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire.autostart import daemon_command


def _daemon(context: Context, options: Options, _: list[str]) -> int:
    more = [f"--{name}={getattr(options, name.replace('-', '_'))}" for name in _PASSED if options.given(name)]
    more += [f"--{name}" for name in ("rebuild-state", "stop-all") if options.given(name)]
    argv = daemon_command(context.flags) + more
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # outlives exec: until the daemon's interpreter hears them itself
    os.execv(argv[0], argv)


_PASSED = ("hooks-dir", "durable", "log-level", "log-format")
DAEMON = Command(
    _daemon,
    most=0,
    flags=(
        Flag("hooks-dir", help="Directory of scripted hooks"),
        Flag("durable", help="on (default): answer when a change is on the disk; off: a power cut may undo it"),
        Flag("log-level", help="debug, info, warning or error"),
        Flag("log-format", help="auto, console or json"),
        Flag(
            "rebuild-state", kind="bool", help="Make a lost or damaged state database anew; one that is sound is kept"
        ),
        Flag("stop-all", kind="bool", help="Stop all containers when the daemon is told to end"),
    ),
    note="--root, --run-dir, --instance, --config and --host, before or after the verb, choose where it keeps what.",
)
