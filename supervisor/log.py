"""Logging set-up: one line per lifecycle fact to stderr, for people on a terminal, as JSON otherwise."""

from __future__ import annotations

import logging
import sys

import structlog

_threshold = logging.INFO


def set_level(level: str) -> None:
    """Of everybody, from the next line on."""
    global _threshold  # as the whole of structlog's configuration is
    _threshold = logging.getLevelNamesMapping()[level.upper()]


def _is_wanted(_: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if logging.getLevelNamesMapping().get(method.upper(), logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return line


def configure(level: str, format_: str) -> None:
    """Called once, in __main__.  format_: console, json, or auto (console when stderr is a terminal)."""
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
