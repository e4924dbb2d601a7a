"""The time machine: which containers there were at a time, in which state, and which addresses were theirs.

Everything comes from the journal, so it reaches back as far as the journal does.  What changed nothing since is taken from
the record of today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

from msgspec.structs import replace

from hawse.supervisor.core.errors import Gone, NotFound
from hawse.supervisor.core.events import (
    ContainerFact,
    ContainerRemoved,
    ContainerStarted,
    ContainerStartFailed,
    NetworkConnected,
    NetworkDisconnected,
    NetworkPublished,
    decode_fact,
    rfc3339,
)
from hawse.supervisor.core.model import Container, Endpoint, Lease, State
from hawse.supervisor.core.stored import Stored
from hawse.supervisor.store.tx import Tx

_PORT = re.compile(r"(?:.*:)?(\d{1,5})(?:/(tcp|udp|sctp))?\Z")
_BEGINNINGS = (ContainerStarted, ContainerStartFailed, ContainerRemoved, NetworkConnected)


@dataclass(frozen=True, slots=True)
class Then:
    """A container at a time: its record, and what was plugged in."""

    container: Container
    endpoints: tuple[Endpoint, ...]


def containers_at(tx: Tx, time: int) -> list[Then]:
    """All that existed then, oldest first.  Raises Gone when the journal does not reach back so far."""
    seq = _seq_at(tx, time)
    found = {}
    for row in tx.last_of_containers(seq):
        fact = decode_fact(row.type, row.body)
        assert isinstance(fact, ContainerFact)
        found[fact.container.id] = None if isinstance(fact, ContainerRemoved) else fact.container
    for known in (
        *tx.containers(),
        *tx.tombstones(),
    ):  # older than the journal, and still without an event at that time
        if known.id not in found and known.created_at <= time:
            found[known.id] = _before(tx, known, seq)
    there = [container for container in found.values() if container is not None]
    return [Then(c, tuple(_plugged(tx, c, seq))) for c in sorted(there, key=lambda c: c.created_at)]


def leases_at(tx: Tx, time: int, network: str) -> list[tuple[Lease, Container]]:
    """Return which address was whose then, of one network or (with "") of all."""
    seq = _seq_at(tx, time)
    found = []
    for then in containers_at(tx, time):
        for name, endpoint in _addresses(tx, then.container, seq).items():
            if network in ("", name):
                lease = Lease(network=endpoint.network, address=endpoint.address, container_id=then.container.id)
                found.append((lease, then.container))
    return found


def story(tx: Tx, ref: str, limit: int) -> list[Stored]:
    """Everything about a container or network of that name, an address, or a published port.  Raises NotFound."""
    subjects = [f"container/{container_id}" for container_id in tx.containers_called(ref)]
    subjects += [f"network/{ref}", f"volume/{ref}"]
    if found := tx.story_of(subjects, limit):
        return found
    try:
        found = tx.story_of_address(str(IPv4Address(ref)), limit)
    except ValueError:
        if match := _PORT.match(ref):
            found = tx.story_of_port(int(match[1]), match[2] or "", limit)
    if found:
        return found
    raise NotFound(f"nothing is known of {ref}", hint="the name or id of a container, a network, an address or a port")


def _seq_at(tx: Tx, time: int) -> int:
    oldest = tx.oldest()
    begins = tx.time_of(oldest)
    if oldest > 1 and begins is not None and time < begins:
        raise Gone(f"the journal reaches back to {rfc3339(begins)} only", oldest=str(oldest))
    return tx.seq_until(time)


def _before(tx: Tx, known: Container, seq: int) -> Container | None:
    """A container whose last event before that seq was pruned: as the first one after it tells."""
    row = tx.first_of_container(known.id, seq)
    if row is None:
        return known
    fact = decode_fact(row.type, row.body)
    assert isinstance(fact, ContainerFact)
    if not fact.container.started_at:
        return replace(fact.container, state=State.CREATED)
    return replace(fact.container, state=State.EXITED if isinstance(fact, _BEGINNINGS) else State.RUNNING)


def _plugged(tx: Tx, container: Container, seq: int) -> list[Endpoint]:
    plugged: dict[str, Endpoint] = {}
    for row in tx.cables_of(container.id, seq):
        fact = decode_fact(row.type, row.body)
        if isinstance(fact, NetworkPublished):
            plugged = {name: replace(endpoint, ports=()) for name, endpoint in plugged.items()}
        if isinstance(fact, NetworkConnected | NetworkPublished):
            plugged[fact.endpoint.network] = fact.endpoint
        elif isinstance(fact, NetworkDisconnected):
            plugged.pop(fact.endpoint.network, None)
    return list(plugged.values())


def _addresses(tx: Tx, container: Container, seq: int) -> dict[str, Endpoint]:
    """The last cable in each network that it belongs to: the address is kept while the container does not run."""
    belongs = {request.network for request in container.config.endpoints}
    last: dict[str, Endpoint] = {}
    for row in tx.cables_of(container.id, seq):
        fact = decode_fact(row.type, row.body)
        if isinstance(fact, NetworkConnected) and fact.endpoint.network in belongs:
            last[fact.endpoint.network] = fact.endpoint
    return last
