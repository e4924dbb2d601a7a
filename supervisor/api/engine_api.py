"""What the API uses of the engine: the verbs behind its routes, with the errors that it turns into answers.

`engine.Engine` is such a one, and so is the tests' engine without a kernel; both pass the same tests
(tests/unit/api/engine_contract.py).  `ref` is an id, a unique prefix of one, or a name, and every verb that takes one
raises NotFound.  Errors are of exactly the class that is named, since the class is the answer's status (core/errors.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from hawse.supervisor.core.health import History
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Exit,
    Image,
    Network,
    Obstacle,
)
from hawse.supervisor.hooks.execute import Outcome
from hawse.supervisor.hooks.hooks import Listed
from hawse.supervisor.images.images import Images
from hawse.supervisor.journal.subscriptions import Subscriptions
from hawse.supervisor.journal.tally import Sample, Tally
from hawse.supervisor.lifecycle.execs import Exec, ExecConfig
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.linux.features import Feature
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile.plan import Action
from hawse.supervisor.runtime.client import AttachOptions
from hawse.supervisor.store.hooks import HookRun
from hawse.supervisor.store.store import Store


class NetworkVerbs(Protocol):
    async def all(self) -> list[Network]:
        """Return the built-in ones too."""

    async def find(self, ref: str) -> Network: ...

    async def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str = "",
        gateway: str = "",
        ip_range: str = "",
        internal: bool = False,
        labels: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Network:
        """Raises UserError, Conflict for a name that is taken, Forbidden for that of a built-in one."""

    async def remove(self, ref: str) -> Network:
        """Raises Forbidden for a built-in one, and while containers are plugged into it."""


class ExecVerbs(Protocol):
    async def create(self, ref: str, config: ExecConfig) -> Exec:
        """Raises Conflict when the container does not run."""

    def find(self, exec_id: str) -> Exec:
        """Raises NotFound."""

    async def settled(self, exec_id: str) -> Exec:
        """Find it as `find` does, with its exit code if its stream has ended."""

    async def running(self, ref: str) -> Container:
        """Return the container.  Raises Conflict when no program can be run in it."""

    def running_in(self, container_id: ContainerId) -> list[str]: ...

    async def start(self, exec_id: str, fd: int | None, prefix: bytes, *, framed: bool = False) -> Exec:
        """`fd` is the client's socket, None when detached; `framed`: its output to there.

        Raises NotFound, Conflict the second time, StartError.
        """

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        """Raises NotFound."""


class HookVerbs(Protocol):
    """Those that take a name raise NotFound for one that is no hook's."""

    async def listed(self) -> list[Listed]: ...

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """Return runs by outcome, and the time that they took, by hook."""

    async def runs(self, name: str, limit: int, /) -> list[HookRun]:
        """Newest first, those of all hooks for the name ""."""

    async def test(self, event: str, ref: str, only: str, /) -> list[tuple[str, Outcome]]: ...

    async def retry(self, name: str, seq: int | None, /) -> int: ...

    async def replay(self, name: str, cursor: str, /) -> None: ...

    async def switch(self, name: str, /, *, on: bool) -> None: ...


class Health(Protocol):
    def history(self, container_id: ContainerId) -> History: ...


class Rehearsal(Protocol):
    async def features(self) -> list[Feature]:
        """Return what was found last, if that is not long ago."""

    async def run(self) -> list[Feature]: ...


class Lookout(Protocol):
    @property
    def found(self) -> Mapping[str, Sequence[Obstacle]]: ...

    async def look(self) -> Mapping[str, Sequence[Obstacle]]: ...


class Lags(Protocol):
    def lag(self) -> dict[str, int]: ...


class EngineApi(Protocol):
    @property
    def parts(self) -> Parts:
        """Return the daemon's: the API reads configuration, clock, places and cgroups; a container's root needs all."""

    @property
    def store(self) -> Store: ...

    @property
    def images(self) -> Images: ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def networks(self) -> NetworkVerbs: ...

    @property
    def execs(self) -> ExecVerbs: ...

    @property
    def hooks(self) -> HookVerbs: ...

    @property
    def subscriptions(self) -> Subscriptions: ...

    @property
    def health(self) -> Health: ...

    @property
    def rehearsal(self) -> Rehearsal: ...

    @property
    def lookout(self) -> Lookout: ...

    @property
    def dispatcher(self) -> Lags: ...

    @property
    def tally(self) -> Tally: ...

    async def container(self, ref: str) -> Container: ...

    async def endpoints(self) -> list[Endpoint]: ...

    async def create(self, config: ContainerConfig, name: str = "") -> Container:
        """Raises UserError, Conflict for a name that is taken, NotFound for a network that is not there."""

    async def start(self, ref: str) -> Container:
        """Raises NotModified when it runs, StartError when it cannot."""

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        """Raises NotModified when it does not run."""

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        """Also of one that does not run.  Raises StartError."""

    async def kill(self, ref: str, signal: int) -> None:
        """Raises Conflict when it does not run."""

    async def pause(self, ref: str) -> None:
        """Raises Conflict when it does not run, or is paused."""

    async def unpause(self, ref: str) -> None:
        """Raises Conflict when it is not paused."""

    async def rename(self, ref: str, name: str) -> None:
        """Raises UserError for what is no name, Conflict for one that is taken."""

    async def update(self, ref: str, change: Callable[[ContainerConfig], ContainerConfig]) -> Container:
        """Return it as it is then; what `change` raises leaves it unchanged."""

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Raises Conflict when it runs and force is not given."""

    async def connect(self, ref: str, network_ref: str, request: EndpointRequest) -> None:
        """Raises Forbidden when it is connected."""

    async def disconnect(self, ref: str, network_ref: str) -> None:
        """Raises Conflict when it is not connected."""

    async def commit(
        self,
        ref: str,
        *,
        tag: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
    ) -> Image: ...

    def waiting(self, ref: str, condition: str) -> AbstractAsyncContextManager[Callable[[], Awaitable[Exit]]]:
        """Within the block the exit cannot be missed; call what it gives to wait for it."""

    async def attach(self, seen: Container, fd: int, prefix: bytes, options: AttachOptions) -> None:
        """The caller closes its own copy of `fd`.  Raises Conflict when it is in no state to be attached to."""

    async def resize(self, ref: str, rows: int, cols: int) -> None:
        """Raises Conflict when it does not run."""

    async def audit(self, *, repair: bool = False) -> list[Action]: ...

    def shut_down(self, *, stop_all: bool) -> None: ...
