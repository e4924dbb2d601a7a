"""The lookout: whether other programs' rules cut our networks, and saying so when that changes.

Woken by the kernel's news of tables that are not ours (news.py) and by networks that come and go, now and then by the clock:
`bridge-nf-call-iptables` and the tables of iptables-legacy send no news.  What was told last is in the journal, so a new
daemon does not tell it again.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import structlog

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import HawseError
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Network, Obstacle
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

GATHER = 0.3  # seconds that news are gathered: ufw and docker change their tables rule by rule
PAUSE = 1.0  # seconds between two looks at least, however often others change their rules

log = structlog.get_logger()


class Lookout:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._woken = anyio.Event()
        self._looking = anyio.Lock()
        self.found: dict[str, tuple[Obstacle, ...]] = {}  # network → what is in its way; as of the last look

    async def run(self) -> None:
        """Run until cancelled."""
        with self._parts.store.journal.subscribe(self._told):
            while True:
                self._woken = anyio.Event()
                try:
                    await self.look()
                except (HawseError, OSError) as e:  # the next look may succeed
                    log.warning("other_rules_not_read", error=str(e))
                await anyio.sleep(PAUSE)
                with anyio.move_on_after(self._parts.config.audit_interval):
                    await self._woken.wait()
                    await anyio.sleep(GATHER)

    def changed(self) -> None:
        """Somebody changed rules that are not ours."""
        self._woken.set()

    async def look(self) -> dict[str, tuple[Obstacle, ...]]:
        """Now; what has changed since it was told last is told.  Raises HawseError, OSError."""
        async with self._looking:
            networks = await self._parts.store.read(lambda tx: tx.networks())
            found = await self._parts.network.obstacles(networks)
            self.found = {network.name: found.get(network.name, ()) for network in networks}
            if await self._parts.store.read(lambda tx: list(self._news(tx, networks))):
                for fact in await self._parts.store.transact(lambda tx: self._tell(tx, networks)):
                    if isinstance(fact, events.NetworkObstructed):
                        for obstacle in fact.obstacles:
                            log.warning("network_obstructed", network=fact.network.name, **_words(obstacle))
                    else:
                        log.info("network_cleared", network=fact.network.name)
            return self.found

    def _news(self, tx: Tx, networks: Iterable[Network]) -> Iterable[events.NetworkObstructed | events.NetworkCleared]:
        for network in networks:
            current = tx.network(network.name)
            if current is None or current.id != network.id:
                continue  # gone since the look
            told: tuple[Obstacle, ...] = ()
            types = (events.NetworkObstructed.TYPE, events.NetworkCleared.TYPE)
            for last in tx.last_events(f"network/{network.name}", *types, limit=1):
                if isinstance(last.fact, events.NetworkObstructed) and last.fact.network.id == network.id:
                    told = last.fact.obstacles
            now = self.found[network.name]
            if now and now != told:
                yield events.NetworkObstructed(network=network, obstacles=now)
            elif told and not now:
                yield events.NetworkCleared(network=network)

    def _tell(self, tx: Tx, networks: Iterable[Network]) -> list[events.NetworkObstructed | events.NetworkCleared]:
        facts = list(self._news(tx, networks))
        for fact in facts:
            tx.append(fact)
        return facts

    def _told(self, event: Event) -> None:
        if isinstance(event.fact, events.NetworkCreated):
            self.changed()


def _words(obstacle: Obstacle) -> dict[str, str]:
    return {"what": obstacle.what, "by": obstacle.by, "remedy": obstacle.remedy}
