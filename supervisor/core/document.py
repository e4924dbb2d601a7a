"""docs/states.md, made from the machine's table so that it cannot go stale.  Pure.

python -m hawse.supervisor.core.document > docs/states.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

from hawse.supervisor.core.machine import TRANSITIONS, Removed, Stimulus
from hawse.supervisor.core.model import State

HEAD = """# The states of a container

Made by `python -m hawse.supervisor.core.document` from the table in `supervisor/core/machine.py`; do not edit.

A container is in one of these states from the transaction that makes its record to the one that deletes it. What happens to
it is a stimulus; the table says which state follows, and a pair that it does not have is a bug of hawse and changes nothing.
The new state, its event and what the container holds are written in one transaction. `hawse inspect` shows the last steps
as `Story`; [events.md](events.md) has the events.
"""
DRAWING = "Arrows from a state to itself are left out; the sections below have them."
MEANING = {
    State.CREATED: "It has its name, addresses and directories, and has never run.",
    State.STARTING: "Its ports, mounts and cables are being made; it is undone as a whole when one of them fails.",
    State.RUNNING: "The user's program was exec'd and has not ended.",
    State.PAUSED: "Its processes are frozen and keep everything they have.",
    State.RESTARTING: "It has ended, and its restart policy starts it again after a pause.",
    State.EXITED: "Its program has ended and nothing of it runs; name, addresses and files are kept.",
    State.REMOVING: "Its cables, files and rows are going, in this order; a daemon that starts finishes it.",
    State.DEAD: "Its removal met an obstacle, which the error names; it is tried again.",
}
REMARKS = {
    State.STARTING: "A failed start leads to `exited` when the container ran before: it is then what it was.",
}
SPACED = re.compile(r"(?<=[a-z])(?=[A-Z])")


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_diagram(), *(line for state in State for line in _section(state))]).rstrip() + "\n"


def _diagram() -> Iterator[str]:
    """The arrows as Mermaid draws them (mermaid.js.org, stateDiagram-v2)."""
    yield from (DRAWING, "", "```mermaid", "stateDiagram-v2", f"    [*] --> {State.CREATED}")
    for (state, stimulus), target in TRANSITIONS.items():
        if stimulus is Removed:
            yield f"    {state} --> [*]: {_words(stimulus)}"
        elif state is not target:
            yield f"    {state} --> {target}: {_words(stimulus)}"
    yield from ("```", "")


def _section(state: State) -> Iterator[str]:
    yield from (f"## {state}", "", MEANING[state], "", "| stimulus | what it is | leads to |", "|---|---|---|")
    for (before, stimulus), target in TRANSITIONS.items():
        if before is state:
            leads_to = "its end" if stimulus is Removed else "itself" if target is state else target
            yield f"| `{stimulus.__name__}` | {_meaning(stimulus)} | {leads_to} |"
    if state in REMARKS:
        yield from ("", REMARKS[state])
    yield ""


def _words(stimulus: type[Stimulus]) -> str:
    return SPACED.sub(" ", stimulus.__name__).lower()


def _meaning(stimulus: type[Stimulus]) -> str:
    return inspect.cleandoc(stimulus.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(page())
