"""The man page hawse(1), from the same tables as the parser, --help and docs/cli.md; see man(7) for its language."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from hawse.cli.flags.flags import Command, flag_row
from hawse.cli.verbs.table import GROUPS, VERBS, Entry
from hawse.supervisor.api import wire

_HEAD = f"""\
.TH HAWSE 1 "" "hawse {wire.VERSION}"
.SH NAME
hawse \\- a container supervisor that speaks Docker
.SH SYNOPSIS
.B hawse
[OPTIONS] COMMAND
.SH DESCRIPTION
hawse runs containers whose network is plugged in, watched, mended and always pulled out again.
Flags may stand before or after the names, except where everything behind the first argument is a program's
(\\fBrun\\fP, \\fBcreate\\fP, \\fBexec\\fP).
.SH GLOBAL OPTIONS
Before the command: \\fB\\-H\\fP, \\fB\\-\\-host\\fP, \\fB\\-\\-root\\fP, \\fB\\-\\-run\\-dir\\fP, \\fB\\-\\-instance\\fP,
\\fB\\-\\-config\\fP, \\fB\\-\\-no\\-autostart\\fP; or \\fBHAWSE_HOST\\fP, \\fBHAWSE_ROOT\\fP, \\fBHAWSE_RUN_DIR\\fP,
\\fBHAWSE_INSTANCE\\fP, \\fBHAWSE_CONFIG\\fP, \\fBHAWSE_AUTOSTART=0\\fP.
.SH COMMANDS
"""
_TAIL = """\
.SH FILES
.TP
.I /etc/hawse/hawse.toml
The daemon's configuration; every key is explained in it.
.TP
.I /etc/hawse/hooks.d
Programs that events run.
.TP
.I /run/hawse/hawse.sock
The socket, for root and the members of the group hawse, who can do what root can.
.TP
.I /var/lib/hawse
Containers, images, volumes and the journal.
"""


def manual() -> str:
    commands = [(f"hawse {verb}", entry) for verb, entry in sorted(VERBS.items())]
    names = {entry: path for path, entry in commands}
    for group, (_, members) in sorted(GROUPS.items()):
        for verb, entry in sorted(members.items()):
            # of a command with several names only the first is explained
            if names.setdefault(entry, path := f"hawse {group} {verb}") == path:
                commands.append((path, entry))
    return _HEAD + "".join(f"{line}\n" for path, entry in commands for line in _command(path, entry)) + _TAIL


def _command(path: str, entry: Entry) -> Iterator[str]:
    module, name, summary = entry
    command: Command = getattr(import_module(f"hawse.cli.{module}"), name)
    yield f".SS {escape(command.usage(path))}"
    yield escape(f"{summary}.")
    if command.note:
        yield from (".PP", escape(command.note))
    for left, right in (flag_row(flag) for flag in command.flags if not flag.hidden):
        yield from (".TP", f".B {escape(left.strip())}", escape(right))


def escape(text: str) -> str:
    """Return one paragraph of plain text as a line that means just that: groff(7), "Escape Sequences" and "Control Lines"."""
    line = " ".join(text.split()).replace("\\", "\\(rs").replace("-", "\\-")
    line = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in line)
    return f"\\&{line}" if line.startswith((".", "'")) else line
