"""Rows of hooks: every run from before its start, and which hooks are switched off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hawse.supervisor.store.session import Session

KEPT: Final = 10_000
"""Runs that are remembered; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRun:
    """One run.  ended_at 0: it is under way; outcome: succeeded, failed, interrupted (the daemon ended first)."""

    id: int = 0
    hook: str
    seq: int  # of the event; 0 for a gate
    event: str  # its type
    subject: str
    attempt: int
    started_at: int
    ended_at: int = 0
    outcome: str = ""
    code: int | None = None
    output: str = ""


class HookRows(Session):
    def begin_run(self, hook: str, seq: int, event: str, subject: str) -> HookRun:
        """A row before the program starts; the attempts of an event count across daemons.

        One before it whose end could not be written (a full disk) was interrupted, as far as anybody can know.
        """
        (before,) = (
            self._one("SELECT coalesce(max(attempt), 0) FROM hook_runs WHERE hook = ? AND seq = ?", hook, seq)
            if seq
            else (0,)
        )
        now = self._clock()
        if seq:
            self._do(
                """UPDATE hook_runs SET ended_at = ?, outcome = 'interrupted'
                   WHERE hook = ? AND seq = ? AND ended_at = 0""",
                *(now, hook, seq),
            )
        self._do(
            "INSERT INTO hook_runs (hook, seq, event, subject, attempt, started_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(hook, seq, event, subject, before + 1, now),
        )
        (number,) = self._one("SELECT last_insert_rowid()")
        self._do("DELETE FROM hook_runs WHERE id <= ?", number - KEPT)
        return HookRun(id=number, hook=hook, seq=seq, event=event, subject=subject, attempt=before + 1, started_at=now)

    def end_run(self, number: int, outcome: str, code: int | None, output: str) -> None:
        self._do(
            "UPDATE hook_runs SET ended_at = ?, outcome = ?, code = ?, output = ? WHERE id = ?",
            *(self._clock(), outcome, code, output, number),
        )

    def interrupt_runs(self) -> int:
        """Mark what was under way when the last daemon ended; how many."""
        return self._do("UPDATE hook_runs SET ended_at = ?, outcome = 'interrupted' WHERE ended_at = 0", self._clock())

    def hook_runs(self, hook: str | None = None, *, limit: int = 100) -> list[HookRun]:
        """Newest first."""
        rows = self._select(
            "id, hook, seq, event, subject, attempt, started_at, ended_at, outcome, code, output FROM hook_runs",
            f"ORDER BY id DESC LIMIT {int(limit)}",
            hook=hook,
        )
        names = (
            "id",
            "hook",
            "seq",
            "event",
            "subject",
            "attempt",
            "started_at",
            "ended_at",
            "outcome",
            "code",
            "output",
        )
        return [HookRun(**dict(zip(names, row, strict=True))) for row in rows]

    def disabled_hooks(self) -> set[str]:
        return set(self._column("SELECT hook FROM disabled_hooks"))

    def switch_hook(self, hook: str, *, on: bool) -> None:
        if on:
            self._do("DELETE FROM disabled_hooks WHERE hook = ?", hook)
        else:
            self._do("INSERT OR IGNORE INTO disabled_hooks (hook) VALUES (?)", hook)
