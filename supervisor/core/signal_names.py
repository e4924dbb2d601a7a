"""Signals as users write them."""

from __future__ import annotations

import signal

from hawse.supervisor.core.errors import UserError


def signal_number(text: str) -> int:
    """`TERM`, `SIGTERM`, `term`, `RTMIN+3` or `15` as a number.  Raises UserError in docker's words."""
    if text.isdecimal() and 1 <= int(text) <= signal.SIGRTMAX:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    base, plus, offset = name.partition("+")
    try:
        number = signal.Signals[base].value + (int(offset) if plus else 0)
    except (KeyError, ValueError) as e:
        raise UserError(f"invalid signal: {text}", hint="a name like SIGTERM or TERM, or a number") from e
    return number
