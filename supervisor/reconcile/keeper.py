"""The keeper: woken by the kernel's news and now and then by the clock, it plans, repairs and says so.

News are gathered for a moment, so that `nft flush ruleset` on a host with a hundred containers is one look and not three
hundred.  An object that keeps breaking is repaired ever more rarely (limiter.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import assert_never

import anyio
import anyio.abc
import structlog
from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.events import Event, NetworkRepaired
from hawse.supervisor.core.model import ContainerId, Endpoint, Network
from hawse.supervisor.locks import Busy
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile import repairs
from hawse.supervisor.reconcile.limiter import Limiter
from hawse.supervisor.reconcile.news import Expected, NetlinkWatch
from hawse.supervisor.reconcile.plan import Action, Kind
from hawse.supervisor.store.tx import Tx

GATHER = 0.002  # seconds that news are gathered before the look
ROUNDS = 3  # a repair can uncover the next: a network comes back, then its cables
AGAIN, AGAIN_AT_MOST = 0.1, 2.0
"""Seconds, doubling, until the next look at what was being worked on when damage was seen."""

PATIENCE = 0.5
"""Seconds that a round waits for a cable.  One that takes longer (its shim hangs) is no other one's delay."""

_CABLE = frozenset({Kind.REPLUG, Kind.ATTACH})
_NETWORK = _CABLE | {Kind.RESTORE_TABLE, Kind.MEND_NETWORK}

log = structlog.get_logger()


class Keeper:
    def __init__(
        self, parts: Parts, finish_removal: Callable[[ContainerId], Awaitable[None]], foreign: Callable[[], None]
    ) -> None:
        """`foreign` is called when rules that are not ours were changed."""
        self._parts = parts
        self._finish_removal = finish_removal
        self._foreign = foreign
        self._expected = Expected()
        self._masters: dict[str, str | None] = {}  # network → what its cables are ports of
        self._limiter = Limiter()
        self._in_hand: set[str] = set()  # objects whose repair is under way
        self._refused: dict[str, str] = {}  # object → why its last repair failed: said once
        self._late: set[str] = set()  # those of them that no round waits for any longer
        self._woken = anyio.Event()
        self._woken_at = 0.0
        self._by = ""
        self._unjudged: frozenset[str] = frozenset()  # what may be damaged, and was being worked on at every look since
        self._again = AGAIN

    async def run(self) -> None:
        """Run until cancelled.  If it dies the daemon dies, and its successor recovers."""
        parts = self._parts
        with parts.store.journal.subscribe(self._told):
            await parts.store.read(self._expect_recorded)
            watch = NetlinkWatch(parts.config.table, self._expected, self.damaged, self._foreign)
            try:
                async with anyio.create_task_group() as background:
                    pause = 0.0  # what happened between recovery's look and the watch's beginning nobody has told
                    while True:
                        with anyio.move_on_after(pause):
                            await self._woken.wait()
                            await anyio.sleep(GATHER)
                        pause = await self._round(background)
            finally:
                watch.close()

    def damaged(self, reason: str, by: str) -> None:
        """A watcher saw something go."""
        log.debug("damage_seen", reason=reason, by=by)
        if not self._woken.is_set():
            self._woken_at, self._by = time.monotonic(), by
            self._woken.set()
        self._by = self._by or by

    async def _round(self, background: anyio.abc.TaskGroup) -> float:
        """Plan and repair until nothing is due; seconds until the next look that nobody has to ask for."""
        news = self._woken.is_set()
        since = self._woken_at if news else time.monotonic()
        by, self._by = self._by, ""
        self._woken = anyio.Event()
        for attempt in range(ROUNDS):
            try:
                actions, busy = await repairs.judge(self._parts)
            except HawseError as e:  # the store or the kernel refuses a look; the world is looked at again later
                log.warning("audit_failed", error=str(e))
                break
            if attempt == 0:
                self._unjudged = self._unjudged & busy | (busy if news else frozenset())
                self._again = AGAIN if news else min(2 * self._again, AGAIN_AT_MOST)
            waits = {action: self._limiter.wait(action.object, time.monotonic()) for action in actions}
            due = [action for action, wait in waits.items() if not wait and action.object not in self._in_hand]
            if not due:
                return min([self._pause(), *(wait for wait in waits.values() if wait)])
            self._in_hand.update(action.object for action in due)
            for action in due:
                if action.kind not in _NETWORK:  # may take as long as a removal: nobody's cable waits for it
                    background.start_soon(self._repair, action, since, by)
            for kind in dict.fromkeys(a.kind for a in due if a.kind in _NETWORK):  # networks before cables
                ended = {action.object: anyio.Event() for action in due if action.kind is kind}
                for action in due:
                    if action.kind is kind:
                        background.start_soon(self._repair, action, since, by, ended[action.object])
                await self._wait(ended, PATIENCE if kind in _CABLE else None)
        return self._pause()

    async def _wait(self, ended: Mapping[str, anyio.Event], patience: float | None) -> None:
        with anyio.move_on_after(patience):
            for event in ended.values():
                await event.wait()
        self._late.update(object_ for object_, event in ended.items() if not event.is_set())

    def _pause(self) -> float:
        return self._again if self._unjudged else self._parts.config.audit_interval

    async def _repair(self, action: Action, since: float, by: str, ended: anyio.Event | None = None) -> None:
        if self._limiter.repaired(action.object, time.monotonic()):
            log.warning("repair_held_back", object=action.object, problem=action.problem, by=by)
        try:
            await repairs.apply(self._parts, action, self._finish_removal)
            await self._tell(action, since, by)
        except Busy:
            self.damaged(f"{action.object} was left, a verb is at work on it", by)
        except (HawseError, OSError) as e:
            if self._refused.get(action.object) != str(e):
                log.warning("repair_failed", object=action.object, problem=action.problem, error=str(e))
            self._refused[action.object] = str(e)
        else:
            self._refused.pop(action.object, None)
        finally:
            self._in_hand.discard(action.object)
            if ended is not None:
                ended.set()
            if action.object in self._late:
                self._late.discard(action.object)
                self.damaged(f"{action.object} was long in repair", by)

    async def _tell(self, action: Action, since: float, by: str) -> None:
        if action.kind is Kind.RESTORE_TABLE:
            by = by or self._by  # a look for another reason was there before the news
        took = int((time.monotonic() - since) * 1e6)
        log.info("repaired", object=action.object, problem=action.problem, by=by, took_us=took)
        if action.kind in _NETWORK:
            fact = NetworkRepaired(
                object=action.object,
                missing=action.problem,
                took_us=took,
                by=by,
                network=action.network,
                container_id=action.container_id,
            )
            await self._parts.store.transact(lambda tx: _append(tx, fact))

    # What has to be there, kept in step with the journal.

    def _expect_recorded(self, tx: Tx) -> None:
        for network in tx.networks():
            self._expect_network(network)
        for endpoint in tx.endpoints():
            container = tx.container(endpoint.container_id)
            if container and container.state.is_running:
                self._expect_cable(endpoint)

    def _expect_network(self, network: Network) -> None:
        expected = self._parts.network.expected(network)
        self._masters[network.name] = expected.master
        self._expected.devices.update(device.name for device in expected.devices)

    def _expect_cable(self, endpoint: Endpoint) -> None:
        master = self._masters.get(endpoint.network)
        if master is not None:
            self._expected.cables[endpoint.veth] = master

    def _told(self, event: Event) -> None:
        match event.fact:
            case events.NetworkCreated(network=network):
                self._expect_network(network)
            case events.NetworkRemoved(network=network):
                self._expected.devices.difference_update(d.name for d in self._parts.network.expected(network).devices)
            case events.NetworkConnected(endpoint=endpoint):
                self._expect_cable(endpoint)
            case events.NetworkLeft(endpoints=endpoints):
                for endpoint in endpoints:
                    self._expected.cables.pop(endpoint.veth, None)
            case events.NetworkDisconnected(endpoint=endpoint):
                self._expected.cables.pop(endpoint.veth, None)
            case events.ContainerExited(endpoints=endpoints):
                for endpoint in endpoints:
                    self._expected.cables.pop(endpoint.veth, None)
            case (
                events.ContainerCreated()
                | events.ContainerStarted()
                | events.ContainerOom()
                | events.ContainerPaused()
                | events.ContainerResumed()
                | events.ContainerRestarting()
                | events.ContainerKilled()
                | events.ContainerHealthChanged()
                | events.ContainerRenamed()
                | events.ContainerUpdated()
                | events.ContainerStartFailed()
                | events.ContainerCommitted()
                | events.ContainerQuarantined()
                | events.ExecStarted()
                | events.ExecEnded()
                | events.ContainerRemoved()
                | events.NetworkObstructed()
                | events.NetworkCleared()
                | events.NetworkPublished()
                | events.NetworkPortTaken()
                | events.NetworkRepaired()
                | events.ImageFact()
                | events.VolumeFact()
                | events.HookFact()
                | events.DaemonStarted()
                | events.DaemonRecovered()
            ):
                pass  # no bridge or cable comes or goes
            case fact:
                assert_never(fact)


def _append(tx: Tx, fact: NetworkRepaired) -> None:
    """Tell of a repair; of a container or a network that was removed since, nothing is told after its end."""
    tx.append(
        replace(
            fact,
            container_id=fact.container_id if tx.container(fact.container_id) else "",
            network=fact.network if tx.network(fact.network) else "",
        )
    )
