"""What health checks have found: records that `inspect` shows.  What they mean is health/rules.py.  Pure."""

from __future__ import annotations

from hawse.supervisor.core.model import Record


class Result(Record, frozen=True, kw_only=True):
    """One run of the check; times in ns since the Unix epoch.  `code` -1: it took too long, or could not be run."""

    started_at: int
    ended_at: int
    code: int
    output: str = ""


class History(Record, frozen=True, kw_only=True):
    """The newest results of one container, oldest first, and how many failed in a row."""

    failing: int = 0
    results: tuple[Result, ...] = ()
