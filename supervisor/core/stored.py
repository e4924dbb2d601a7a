"""An event as the journal has it, for who reads it without a database.  Pure."""

from __future__ import annotations

from typing import NamedTuple


class Stored(NamedTuple):
    """An event as it lies in the journal: its fact is still JSON, so a reader who only passes it on never decodes it."""

    seq: int
    time: int
    type: str
    subject: str
    cause: str
    body: bytes
