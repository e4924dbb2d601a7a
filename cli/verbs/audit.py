"""`hawse audit [--repair]`: compare the records with the kernel and the disk.  Exit code 1 when something is off.

What other programs' rules keep from working is listed apart and does not count: nothing of ours is off, `--repair` cannot
mend it, and it may be as whoever runs the machine wants it.
"""

from __future__ import annotations

import json

from hawse.cli.context import Context
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.table import aligned
from hawse.supervisor.api import wire


def _audit(context: Context, options: Options, _: list[str]) -> int:
    path = f"{wire.NATIVE}/audit"
    told = context.client.post(path) if options.repair else context.client.get(path)
    found, foreign = [f for f in told if not f["Foreign"]], [f for f in told if f["Foreign"]]
    if options.format == "json":
        print(json.dumps(told, indent=4))
    elif not found:
        print("Nothing is off: links, rules, addresses, cgroups, processes and files are as recorded.")
    else:
        done = "REPAIRED BY" if options.repair else "WOULD BE REPAIRED BY"
        rows = [["OBJECT", "PROBLEM", done], *([f["Object"], f["Problem"], f["Remedy"]] for f in found)]
        print("\n".join(aligned(rows)))
    if foreign and options.format != "json":
        rows = [[f["Network"], f["Problem"], f["Object"], f["Remedy"]] for f in foreign]
        print("\nRules of other programs are in the way:")
        print("\n".join(aligned([["NETWORK", "PROBLEM", "DROPPED BY", "REMEDY"], *rows])))
    return 1 if found and not options.repair else 0


AUDIT = Command(
    _audit,
    most=0,
    flags=(
        Flag("repair", kind="bool", help="Put right what is off"),
        Flag("format", help="json, or a table"),
    ),
)
