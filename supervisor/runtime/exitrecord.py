"""How a container's program ended, as its shim reports it and leaves it on disk.  Daemon side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXIT_RECORD = "exit.json"
"""In the container's state directory; written by the shim, whole or not at all, before it tells anyone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitInfo:
    """Times in ns since the Unix epoch.  `code` None: nobody knows, and `reason` says why."""

    code: int | None
    signal: int | None = None
    oom: bool = False
    started_at: int = 0
    finished_at: int = 0
    reason: str = ""


def parse_exit(raw: dict[str, Any]) -> ExitInfo:
    """Raises KeyError, TypeError or ValueError for what no shim writes."""
    return ExitInfo(
        code=int(raw["code"]),
        signal=raw.get("signal"),
        oom=bool(raw.get("oom")),
        started_at=int(raw.get("started_at") or 0),
        finished_at=int(raw.get("finished_at") or 0),
    )


def read_exit_record(state_dir: Path) -> ExitInfo | None:
    """The record of the last run; None when its shim did not get so far."""
    try:
        return parse_exit(json.loads((state_dir / EXIT_RECORD).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        return ExitInfo(code=None, reason=f"unreadable exit record: {e!r}")


def forget_exit_record(state_dir: Path) -> None:
    """Before a new run, which must not be told the old one's end."""
    (state_dir / EXIT_RECORD).unlink(missing_ok=True)
