"""The refusal of what only makes sense in a container that runs, in the words that docker's clients know.  Pure."""

from __future__ import annotations

from hawse.supervisor.core.errors import Conflict
from hawse.supervisor.core.model import Container, State


def check_running(container: Container) -> None:
    """A paused one runs.  Raises Conflict for one that waits to be restarted or does not run."""
    if container.public is State.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.state.is_running:
        raise Conflict(f"container {container.id} is not running")
