"""`hawse selftest quick`: the daemon's dress rehearsal of a start, made anew: each step, and what to do where one fails."""

from __future__ import annotations

from hawse.cli.context import Context
from hawse.cli.flags.flags import Command, Options
from hawse.cli.show.table import coloured, painted
from hawse.supervisor.api import wire


def _quick(context: Context, _: Options, __: list[str]) -> int:
    failed = False
    colour = coloured()
    for step in context.client.post(f"{wire.NATIVE}/rehearsal"):
        failed |= step["needed"] and not step["found"]
        mark = "ok" if step["found"] else "FAILED" if step["needed"] else "missing"
        if colour:
            mark = painted(mark, "green" if step["found"] else "red" if step["needed"] else "yellow")
        print(f"{step['name']}: {mark}{_detail(step['detail'])}")
        if not step["found"]:
            print(f"    costs: {step['costs']}")
            print(f"    remedy: {step['remedy']}" if step["remedy"] else "    no remedy is known")
    print("A run with default options fails here." if failed else "Containers can run here.")
    return 1 if failed else 0


def _detail(text: str) -> str:
    return f" ({text})" if text else ""


QUICK = Command(
    _quick,
    most=0,
    note="A container is started up to the point where its program would begin, and undone. What only costs something is "
    "missing; what every run needs has FAILED, and then the exit code is 1.",
)
