"""The configuration in force, and what SIGHUP does to it: everything is read and checked before anything is changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import structlog

from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.process import log as logging
from hawse.supervisor.process.config import Config, load

LIVE = ("log_level", "address_pools", "journal_max_age", "journal_max_bytes", "audit_interval")
"""What can be changed while the daemon runs.  The rest is in the names of kernel objects, in paths that shims have open, or
was used up at start."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Settings:
    """The one place that a reload changes; who needs a value that may change reads it there each time.

    `flags` and `environ` are those that the daemon was started with, which go on to win over the file.
    """

    config: Config
    flags: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Self:
        """Raises as config.load."""
        return cls(config=load(flags, environ), flags=dict(flags), environ=dict(environ))

    def reread(self) -> tuple[dict[str, Any], list[str]]:
        """Put in force what can be; the new values by key, and the keys that differ and need a restart.

        Raises as config.load, and then nothing is changed.
        """
        fresh = load(self.flags, self.environ)
        differ = [f.name for f in fields(Config) if getattr(self.config, f.name) != getattr(fresh, f.name)]
        changed = {name: getattr(fresh, name) for name in differ if name in LIVE}
        self.config = replace(self.config, **changed)
        return changed, [name for name in differ if name not in LIVE]


async def reload(settings: Settings, load_hooks: Callable[[], Awaitable[None]]) -> str:
    """Do what SIGHUP asks for: read the configuration and the hooks again.  The log tells what became of it.

    Returns "", or why the configuration stays as it was.  A bad hook is refused by itself and holds back nothing.
    """
    problem = ""
    try:
        changed, needs_restart = settings.reread()
        logging.set_level(settings.config.log_level)
        log.info("configuration_reloaded", changed=changed)
        if needs_restart:
            log.warning("configuration_needs_restart", keys=needs_restart)
    except (HawseError, OSError) as e:
        problem = str(e)
        log.error("configuration_not_reloaded", error=problem)
    try:
        await load_hooks()
    except (HawseError, OSError) as e:
        log.error("hooks_not_reloaded", error=str(e))
    return problem
