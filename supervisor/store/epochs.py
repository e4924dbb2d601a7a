"""Cursors: `<epoch>-<seq>`, and which of them still mean something.

An epoch is a stretch of the journal that nobody can have seen differently.  A new one begins only where committed events
may have been lost (power failure, see Store), at the seq after the last that survived: older events keep their ids, and a
reader who saw more than what survived is told so instead of being shown other events under the same numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hawse.supervisor.core.errors import Gone, UserError

CURSOR = re.compile(r"([0-9a-f]{32})-([0-9]{1,18})\Z")


@dataclass(frozen=True, slots=True)
class Epochs:
    """(first seq, epoch) in order; never empty."""

    spans: tuple[tuple[int, str], ...]

    def of(self, seq: int) -> str:
        """The epoch that `seq` belongs to."""
        for first, epoch in reversed(self.spans):
            if seq >= first:
                return epoch
        return self.spans[0][1]

    def cursor(self, seq: int) -> str:
        return f"{self.of(seq)}-{seq}"

    def clamp(self, cursor: str, *, head: int) -> int:
        """The seq of a cursor of ours, or the last one that survived of its epoch."""
        match = CURSOR.match(cursor)
        assert match, cursor
        ends = [first - 1 for first, _ in self.spans[1:]] + [head]
        for (_, name), end in zip(self.spans, ends, strict=True):
            if name == match[1]:
                return min(int(match[2]), end)
        return head

    def parse(self, cursor: str, *, oldest: int, head: int) -> int:
        """The seq after which to read.  `oldest` and `head` are the first and last seq kept.

        Raises UserError for what is no cursor at all, Gone when it points where reading cannot go on without a gap.
        """
        if not (match := CURSOR.match(cursor)):
            raise UserError(f"invalid cursor {cursor!r}", hint="a cursor is the id of an event, <epoch>-<seq>")
        epoch, seq = match[1], int(match[2])
        beginning = self.cursor(oldest - 1)
        ends = [first - 1 for first, _ in self.spans[1:]] + [head]
        for (first, name), end in zip(self.spans, ends, strict=True):
            if name != epoch:
                continue
            if seq > end or seq < first - 1:
                raise Gone(f"cursor {cursor}: epoch {epoch} ends with {end}", oldest=beginning)
            if seq < oldest - 1:
                raise Gone(f"cursor {cursor}: events up to {oldest - 1} were pruned", oldest=beginning)
            return seq
        raise Gone(f"cursor {cursor}: this journal has no epoch {epoch}", oldest=beginning)
