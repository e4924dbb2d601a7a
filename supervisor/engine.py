"""The verbs of a container.  One container is serial (a keyed lock), different ones are concurrent.

    lifecycle/  create  creating.py      start  starting.py      stop, kill  stopping.py
                exit, remove  ending.py      exec  execs.py
    connect, record, disconnect, auto-remove: handlers/, driven by dispatch/

The engine never decides what state may follow what (machine.py) and never plugs or unplugs a network (handlers/).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import structlog
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine, names
from hawse.supervisor.core.errors import Conflict, HawseError, NotFound, NotModified
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Exit,
    Image,
    State,
    Verb,
)
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.health.keeper import HealthKeeper
from hawse.supervisor.hooks.hooks import Hooks
from hawse.supervisor.journal.subscriptions import Subscriptions
from hawse.supervisor.journal.tally import Tally
from hawse.supervisor.lifecycle import cabling, creating, ending, leaving, starting, stopping, wishes
from hawse.supervisor.lifecycle.execs import Execs
from hawse.supervisor.lifecycle.networks import Networks
from hawse.supervisor.lifecycle.rehearsing import Rehearsal
from hawse.supervisor.lifecycle.running import check_running
from hawse.supervisor.lifecycle.transitions import serial, step
from hawse.supervisor.lifecycle.volumes import Volumes
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.locks import KeyedLocks
from hawse.supervisor.parts import Context, Parts
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.keeper import Keeper
from hawse.supervisor.reconcile.lookout import Lookout
from hawse.supervisor.reconcile.plan import Action
from hawse.supervisor.runtime.client import AttachOptions, Shim
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

REMOVAL_ATTEMPTS = 5  # a forced removal against somebody who starts it again


class Engine:
    """All the verbs, and what they work with; serving.py has the tasks behind them."""

    def __init__(self, parts: Parts, handlers: Sequence[Handler], execs: Execs, watch: Callable[[Shim], None]) -> None:
        self.parts = parts
        self.store = parts.store
        self.images = parts.images
        self.networks = Networks(parts)
        self.volumes = Volumes(parts)
        self.subscriptions = Subscriptions(parts.store)
        self.tally = Tally()
        self.dispatcher = Dispatcher(parts.store, handlers, Context(parts=parts, engine=self))
        self.hooks = Hooks(parts, self.dispatcher)
        self.execs = execs
        self.health = HealthKeeper(parts)
        self.lookout = Lookout(parts)
        self.keeper = Keeper(parts, self.remove_ended, self.lookout.changed)
        self.rehearsal = Rehearsal(parts)
        self.told_to_end = anyio.Event()
        self.stops_all = False
        self._asking_removal: set[ContainerId] = set()
        self._restarts = KeyedLocks()  # between the exit and the start of one, `--rm` waits
        self._watch = watch

    # ---- looking -------------------------------------------------------------------------------------------------

    async def container(self, ref: str) -> Container:
        """By id, unique id prefix or name.  Raises NotFound."""
        return await self.store.read(lambda tx: tx.find(ref))

    async def containers(self) -> list[Container]:
        """All but those that remove themselves and have ended."""
        return [c for c in await self.store.read(lambda tx: tx.containers()) if not c.is_leaving]

    async def endpoints(self, container_id: ContainerId | None = None) -> list[Endpoint]:
        """Return what is plugged in, as recorded."""
        found = await self.store.read(lambda tx: tx.endpoints(container_id))
        return [endpoint for endpoint in found if endpoint.connected_at]

    # ---- life ----------------------------------------------------------------------------------------------------

    async def create(self, config: ContainerConfig, name: str = "") -> Container:
        if config.hooks:
            await self.hooks.flagged()
        return await creating.create(self.parts, self.networks, self.dispatcher, config, name)

    async def start(self, ref: str, *, again: bool = False, by_policy: bool = False) -> Container:
        """Raises NotModified when it runs, StartError when it cannot.  `again`: told as a restart.

        `by_policy`: only what waits for its restart is started, which a user may have called off; else NotModified.
        """
        async with serial(self.parts, ref) as container:
            if by_policy and container.state is not State.RESTARTING:
                raise NotModified(f"container {container.name} does not wait to be restarted")
            if container.state.is_running:
                raise NotModified(f"container {container.name} is already running")
            if container.state is State.REMOVING:
                raise Conflict("container is marked for removal and cannot be started")
            if again:
                container = wishes.to_restart(container)
            started = await starting.start(self.parts, self.dispatcher, container)
            self._watch(self.parts.live.shims[container.id])
        await self._recorded(started)
        return started

    async def stop(
        self,
        ref: str,
        timeout: int | None = None,
        signal: str | None = None,
        *,
        by_engine: bool = False,
        verb: Verb = Verb.STOP,
    ) -> None:
        """Send its stop signal, then SIGKILL after `timeout` seconds (-1 never).  Raises NotModified when it does not run.

        By the engine it counts as no user's wish and no failure: `always` and `unless-stopped` will start it again.
        """
        await stopping.stop(self.parts, self.dispatcher, ref, timeout, signal, by_engine=by_engine, verb=verb)

    async def kill(self, ref: str, signal: int) -> None:
        """Send one signal; SIGKILL is waited for.  Raises Conflict when it does not run."""
        await stopping.kill(self.parts, ref, signal)

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        """Stop it as `stop` does, if it runs, and start it."""
        container = await self.container(ref)
        async with self._restarts.hold(container.id):
            try:
                await self.stop(container.id, timeout, signal, verb=Verb.RESTART)
            except NotModified:
                pass
            await self._start_again(container.id)

    async def _start_again(self, container_id: ContainerId) -> None:
        """The other half of a restart, which is over when that fails: no later daemon tries it."""
        try:
            await self.start(container_id, again=True)
        except HawseError:
            await self.store.transact(lambda tx: wishes.forget(tx, container_id))
            raise

    async def carry_through(self, container: Container) -> None:
        """Do what the last daemon was asked for and had only written down; `container` is as it left it."""
        await wishes.carry_through(self.parts, container, self._restarts, self._start_again)

    async def pause(self, ref: str) -> None:
        async with serial(self.parts, ref) as container:
            if container.state is State.PAUSED:
                raise Conflict(f"container {container.id} is already paused")
            check_running(container)
            await threads.run_sync(Cgroup.open(self.parts.cgroups, container.id).freeze)
            faults.point("pause.frozen")
            await step(self.parts, container, machine.Paused())

    async def unpause(self, ref: str) -> None:
        async with serial(self.parts, ref) as container:
            if container.state is not State.PAUSED:
                raise Conflict(f"container {container.id} is not paused")
            Cgroup.open(self.parts.cgroups, container.id).thaw()
            faults.point("unpause.thawed")
            await step(self.parts, container, machine.Resumed())

    async def rename(self, ref: str, name: str) -> None:
        name = names.check_container_name(name)
        async with serial(self.parts, ref) as container:

            def rename(tx: Tx) -> None:
                if holder := tx.container_named(name):
                    raise Conflict(
                        f'Conflict. The container name "/{name}" is already in use by container "{holder.id}". '
                        "You have to remove (or rename) that container to be able to reuse that name."
                    )
                renamed = replace(container, name=name)
                tx.put(renamed)
                tx.append(events.ContainerRenamed(container=renamed, old_name=container.name))

            await self.store.transact(rename)

    async def update(self, ref: str, change: Callable[[ContainerConfig], ContainerConfig]) -> Container:
        """Change limits and restart policy, of a running container at once.  Raises UserError or KernelError, unchanged."""
        async with serial(self.parts, ref) as container:
            if container.state in (State.REMOVING, State.DEAD):
                raise Conflict(f"container {container.name} is {container.state}, it cannot be updated")
            updated = replace(container, config=change(container.config))

            def put(tx: Tx) -> None:
                tx.put(updated)
                tx.append(events.ContainerUpdated(container=updated))

            cgroup = Cgroup.open(self.parts.cgroups, container.id)
            try:
                if container.state.is_alive:
                    cgroup.update(updated.config.resources)
                    faults.point("update.limited")
                await self.store.transact(put)
            except BaseException:
                if container.state.is_alive:
                    with suppress(HawseError):  # less than it uses by now
                        cgroup.update(container.config.resources)
                raise
            return updated

    async def connect(self, ref: str, network_ref: str, request: EndpointRequest) -> None:
        """Connect it to one more network; a running container is plugged in at once."""
        network = await self.networks.find(network_ref)
        async with serial(self.parts, ref) as container:
            joined = await cabling.connect(self.parts, self.dispatcher, container, network, request)
        await self._recorded(joined)

    async def disconnect(self, ref: str, network_ref: str) -> None:
        network = await self.networks.find(network_ref)
        async with serial(self.parts, ref) as container:
            await cabling.disconnect(self.parts, container, network)

    async def commit(
        self,
        ref: str,
        *,
        tag: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
    ) -> Image:
        """An image of what a container changed; it stands still meanwhile, unless `pause` is off."""
        async with serial(self.parts, ref) as container:
            cgroup = Cgroup.open(self.parts.cgroups, container.id)
            freeze = pause and container.state is State.RUNNING
            try:
                if freeze:
                    await threads.run_sync(cgroup.freeze)
                paths = self.parts.places.of(container.id)
                told = {"message": message, "author": author}
                return await self.images.commit(container, paths, tag=tag, changes=changes, **told)
            finally:
                if freeze:
                    cgroup.thaw()

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files and rows.  Raises Conflict when it runs and force is not given."""
        container = await self.container(ref)
        if container.is_leaving:
            await leaving.wait_gone(self.parts, lambda tx: [container])
            return
        _check_removable(container, force)
        await self._ask_removal(container)
        for _ in range(REMOVAL_ATTEMPTS):
            if container.state.is_alive:
                await stopping.end(self.parts, container)
            async with serial(self.parts, container.id) as container:
                _check_removable(container, force)  # somebody may have started it meanwhile
                if not container.state.is_alive:
                    await ending.remove(self.parts, container, volumes=volumes)
                    return
        raise Conflict(f"container {container.name} is started again each time it is ended for its removal")

    async def remove_ended(self, container_id: ContainerId) -> None:
        """Do what `--rm` promised, or a removal that is under way.  Nothing is left to do when it is gone or runs again."""
        try:
            async with self._restarts.hold(container_id), serial(self.parts, container_id) as container:
                if container.state.is_alive:
                    return
                asked = container.wish is not None and container.wish.volumes
                await ending.remove(self.parts, container, volumes=asked or container.config.auto_remove)
        except NotFound:
            pass

    async def _ask_removal(self, container: Container) -> None:
        """The gates; a hook that removes the container it is asked about would ask itself for ever."""
        if container.id in self._asking_removal:
            raise Conflict(f"removal of container {container.name} is already in progress")
        self._asking_removal.add(container.id)
        try:
            await self.dispatcher.gate(events.PreRemove(container=container))
        finally:
            self._asking_removal.discard(container.id)

    async def stop_all(self) -> None:
        """Stop every running container side by side: the daemon's --stop-all.

        Restart policies stand back: the exits are in the journal, and the next daemon answers them.
        """
        for name in ("restart.schedule", "restart.start"):
            await self.dispatcher.remove(name, forget=False)
        async with anyio.create_task_group() as group:
            for container in await self.containers():
                if container.state.is_alive:
                    group.start_soon(self._stop_quietly, container.id)

    async def _stop_quietly(self, container_id: ContainerId) -> None:
        try:
            await self.stop(container_id, by_engine=True)
        except NotModified:
            pass
        except HawseError as e:
            log.error("container_not_stopped", container=container_id[:12], error=str(e))

    def shut_down(self, *, stop_all: bool) -> None:
        """Have the daemon end as SIGTERM does; with `stop_all` its containers end first."""
        self.stops_all = self.stops_all or stop_all
        self.told_to_end.set()

    # ---- waiting and streams -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def waiting(self, ref: str, condition: str) -> AsyncIterator[Callable[[], Awaitable[Exit]]]:
        """Give a function that waits for the exit, also for one that comes within the block before it is called.

        condition: not-running (now counts), next-exit, removed.  A container with --rm counts as removed when it has
        ended: what is left then is clean-up, which nobody has to wait for.
        """
        container = await self.container(ref)
        types = ["container.exited", "container.removed", "container.start_failed"]
        if condition == "removed" and not container.config.auto_remove:
            types = ["container.removed"]
        with self.parts.live.waits.expect(f"container/{container.id}", *types) as expectation:
            current = await self.container(container.id)

            async def wait() -> Exit:
                if condition == "not-running" and not current.state.is_alive:
                    return current.exit or Exit(code=0)
                event = await expectation.wait()
                assert event is not None and isinstance(event.fact, events.ContainerFact)
                return event.fact.container.exit or Exit(code=0)

            yield wait

    async def attach(self, seen: Container, fd: int, prefix: bytes, options: AttachOptions) -> None:
        """Hand the client's socket to the shim, now or as soon as there is one; the caller closes its own copy.

        `seen`: the container as it was when the client asked.  Raises Conflict when it is in no state to be attached to.
        """
        shim = self.parts.live.shims.get(seen.id)
        # A shim stays for a moment after its program's end was told; who has heard of that wants the next run.
        if seen.state is State.RUNNING or (shim is not None and not shim.has_ended):
            await self._attachable(seen.id)
            if shim := self.parts.live.shims.get(seen.id):  # else it has ended meanwhile, and nothing more comes
                await shim.attach(fd, prefix, options)
            return
        attachments = self.parts.live.attachments
        # At once: who has read that it is attached may start it, and it may end, before we have looked again.
        waiting = attachments.add(seen.id, fd, prefix, options)
        try:
            await self._attachable(seen.id)
        except (NotFound, Conflict):
            if attachments.withdraw(seen.id, waiting):
                raise  # else it has been handed over meanwhile

    async def _attachable(self, container_id: ContainerId) -> None:
        """Raises NotFound, Conflict."""
        container = await self.container(container_id)
        if container.state in (State.PAUSED, State.REMOVING, State.DEAD):
            raise Conflict(f"container {container.name} is {container.state}, it cannot be attached to")

    async def resize(self, ref: str, rows: int, cols: int) -> None:
        container = await self.container(ref)
        await self._shim(container).resize(rows, cols)

    async def audit(self, *, repair: bool = False) -> list[Action]:
        """Return what is off between records and world; with `repair` it is put right first and told as it was."""
        actions = await repairs.audit(self.parts)
        if repair:
            for action in actions:
                try:
                    await repairs.apply(self.parts, action, self.remove_ended)
                except HawseError as e:  # the others are put right all the same; the next audit tells of this one
                    log.warning("repair_failed", object=action.object, problem=action.problem, error=str(e))
        return actions

    # ---- inner ---------------------------------------------------------------------------------------------------

    def _shim(self, container: Container) -> Shim:
        shim = self.parts.live.shims.get(container.id)
        if shim is None:
            raise Conflict(f"container {container.id} is not running")
        return shim

    async def _recorded(self, container: Container) -> None:
        """Wait until the handler `record` has written the file that tells scripts what `ps` shows."""
        plugged = len(container.config.endpoints)
        if not plugged:
            return
        connected = await self.store.read(
            lambda tx: tx.last_events(f"container/{container.id}", "network.connected", limit=plugged)
        )
        for event in connected:
            await self.dispatcher.wait_done("record", event.seq)


def _check_removable(container: Container, force: bool) -> None:
    """Raises Conflict for one that runs, or waits for its restart, which counts as running as with docker."""
    if force or not (container.state.is_alive or container.state is State.RESTARTING):
        return
    first = "unpause and then stop" if container.state is State.PAUSED else "stop"
    raise Conflict(
        f'cannot remove container "/{container.name}": container is {container.public}: '
        f"{first} the container before removing or force remove"
    )
