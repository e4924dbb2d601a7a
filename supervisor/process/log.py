"""Logging set-up: one line per lifecycle fact to stderr, for people on a terminal, as JSON otherwise.

Where the journal reads our stderr (systemd's units) the same lines go to it with their keys as fields, so that
`journalctl CONTAINER_ID=27d0de3c2406` finds them.
"""

from __future__ import annotations

import logging
import os
import re
import sys

import structlog

from hawse.supervisor.linux import journald

_PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3", "critical": "2"}  # syslog(3)
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}([0-9a-f]{52})?\Z")
_threshold = logging.INFO


def set_level(level: str) -> None:
    """Change everybody's level, from the next line on."""
    global _threshold  # as the whole of structlog's configuration is
    _threshold = logging.getLevelNamesMapping()[level.upper()]


def _is_wanted(_: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return line


class _ToJournal:
    """A logger of structlog's, whose every method takes what `_with_fields` made."""

    def __init__(self, *_: object) -> None:
        self._journal = journald.Journal()

    def msg(self, line: str, fields: dict[str, str]) -> None:
        try:
            self._journal.send(journald.encode(fields))
        except (
            OSError
        ):  # journald is full, or away: it has its own end of our stderr still, and keeps that across restarts
            print(line, file=sys.stderr)  # noqa: T201

    debug = info = warning = error = critical = exception = msg


_json = structlog.processors.JSONRenderer()


def _with_fields(
    logger: object, method: str, line: structlog.typing.EventDict
) -> tuple[tuple[str, dict[str, str]], dict[str, object]]:
    fields = {name: str(value) for name, value in line.items()}
    if subject := fields.pop("container", ""):
        fields["container_id" if _CONTAINER_ID.match(subject) else "container_name"] = subject
    text = str(_json(logger, method, line))
    fields |= {"message": text, "priority": _PRIORITIES.get(method, "3"), "syslog_identifier": "hawse"}
    return (text, fields), {}


def configure(level: str, format_: str) -> None:
    """Called once, in __main__.  format_: console, json, or auto (console when stderr is a terminal)."""
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    to_journal = format_ == "auto" and journald.is_stderr(os.environ)
    renderer: structlog.typing.Processor = _with_fields if to_journal else _json
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    set_level(level)
    structlog.configure(
        processors=[
            _is_wanted,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not console else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=_ToJournal if to_journal else structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
