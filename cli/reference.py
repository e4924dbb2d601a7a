"""docs/cli.md, made from the verb and flag tables so that it cannot go stale.

python -m hawse.cli.reference > docs/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

from hawse.cli.flags.flags import Command, flag_row
from hawse.cli.verbs.table import GROUPS, VERBS, Entry

HEAD = """# The command line

Made by `python -m hawse.cli.reference` from the tables that parse it; do not edit. Flags may stand before or after the names,
except where everything behind the first argument is a program's (`run`, `create`, `exec`).

Before the verb: `-H, --host`, `--root`, `--run-dir`, `--instance`, `--config`, `--no-autostart`; or `HAWSE_HOST`, `HAWSE_ROOT`,
`HAWSE_RUN_DIR`, `HAWSE_INSTANCE`, `HAWSE_CONFIG`, `HAWSE_AUTOSTART=0`.
"""


def reference() -> str:
    lines = [HEAD]
    for verb, entry in sorted(VERBS.items()):
        lines += _verb(f"hawse {verb}", entry)
    for group, (summary, members) in sorted(GROUPS.items()):
        lines += [f"## hawse {group}", "", f"{summary}.", ""]
        shown = {entry: verb for verb, entry in sorted(VERBS.items())}
        for verb, entry in sorted(members.items()):
            if entry in shown:
                lines += [f"- `hawse {group} {verb}` is `hawse {shown[entry]}`"]
        lines += [""]
        for verb, entry in sorted(members.items()):
            if entry not in shown:
                lines += _verb(f"hawse {group} {verb}", entry)
    return "\n".join(lines).rstrip() + "\n"


def _verb(path: str, entry: Entry) -> Iterator[str]:
    module, name, summary = entry
    command: Command = getattr(import_module(f"hawse.cli.{module}"), name)
    yield from (f"### {path}", "", f"{summary}.", "", f"    {command.usage(path)}", "")
    if command.note:
        yield from (command.note, "")
    rows = [flag_row(flag) for flag in command.flags if not flag.hidden]
    if rows:
        yield from ("| flag | |", "|---|---|")
        for left, right in rows:
            explained = right.replace("|", "\\|")
            yield f"| `{left.strip()}` | {explained} |"
        yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())
