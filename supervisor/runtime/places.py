"""Where a daemon has its files: a container's, a volume's, a compiled filter's, all under its two directories.

Neither directory changes while the daemon runs (process/reload.py), so this is a value, made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hawse.supervisor.core.capabilities import capabilities
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.process.config import Config
from hawse.supervisor.runtime.seccomp import default_profile
from hawse.supervisor.runtime.spec import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    root: Path  # persistent
    run_dir: Path  # on tmpfs, gone after a reboot

    @classmethod
    def under(cls, config: Config) -> Self:
        return cls(root=config.root, run_dir=config.run_dir)

    def make(self) -> None:
        """Make the directories that everything is in; the rest is made by who needs it."""
        for directory in (self.root, self.states, self.volumes, self.runs):
            directory.mkdir(mode=0o710, parents=True, exist_ok=True)

    @property
    def states(self) -> Path:
        """The directory of all containers' state directories, each named by its id."""
        return self.root / "containers"

    @property
    def runs(self) -> Path:
        """The directory of all containers' run directories, each named by its id."""
        return self.run_dir / "containers"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    def of(self, container_id: str) -> Paths:
        return Paths(state=self.states / container_id, run=self.runs / container_id)

    def volume(self, name: str) -> Path:
        return self.volumes / name

    def seccomp_filter(self, config: ContainerConfig) -> str:
        """Return the path of the compiled filter for a container with those capabilities, "" for none.

        Raises Unavailable without libseccomp.
        """
        if config.seccomp != "default" or config.privileged:
            return ""
        return default_profile(self.root, capabilities(config))
