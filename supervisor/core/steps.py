"""What is told on the way of something long, such as a pull.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens to a layer (`id`: 12 digits of its blob), or to the whole; bytes as far as they are known."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


Report = Callable[[Step], None]
