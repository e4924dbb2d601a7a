"""The journal's vocabulary: past facts, flat, with the object as it was.

Every state change is one of these, written in the same transaction as the change (store/).  Names are
`<Noun><PastVerb>`; the wire type is `TYPE`.  Adding a field needs a default, since the journal keeps old events.  The union
`Fact` is closed: match on it and end in `typing.assert_never`.

An `Event` is a fact in its envelope, CloudEvents 1.0 with the extensions seq, epoch and cause (docs/events.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec.structs import replace

from hawse.supervisor.core import wishfields
from hawse.supervisor.core.model import (
    Container,
    Endpoint,
    Exit,
    Image,
    Network,
    Obstacle,
    PortBinding,
    Record,
    Volume,
    decoder,
    encode,
    encode_hook,
)


class ContainerFact(Record, frozen=True, kw_only=True):
    """A fact about one container, which it carries as it was just after."""

    TYPE: ClassVar[str]
    container: Container
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def subject(self) -> str:
        return f"container/{self.container.id}"


class ContainerCreated(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.created"


class ContainerStarted(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.started"
    restarted: bool = False  # by a user's restart


class ContainerExited(ContainerFact, frozen=True, kw_only=True):
    """The death certificate: still carries the addresses and ports it had."""

    TYPE: ClassVar[str] = "container.exited"
    exit: Exit
    ran_ns: int = 0
    peak_memory: int = 0  # bytes, from the cgroup; 0 unknown
    cpu_ns: int = 0
    last_lines: tuple[str, ...] = ()


class ContainerOom(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.oom"


class ContainerPaused(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.paused"


class ContainerResumed(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.resumed"


class ContainerRestarting(ContainerFact, frozen=True, kw_only=True):
    """The restart policy will start it again after delay_ns."""

    TYPE: ClassVar[str] = "container.restarting"
    delay_ns: int = 0


class ContainerKilled(ContainerFact, frozen=True, kw_only=True):
    """A signal was sent on a user's behalf: by kill, stop, restart or a forced removal."""

    TYPE: ClassVar[str] = "container.killed"
    signal: int = 0


class ContainerHealthChanged(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.health"
    status: str = ""
    output: str = ""


class ContainerRenamed(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.renamed"
    old_name: str = ""


class ContainerUpdated(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.updated"


class ContainerStartFailed(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.start_failed"
    stage: str = ""
    error: str = ""


class ContainerCommitted(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.committed"
    image_id: str = ""


class ContainerQuarantined(ContainerFact, frozen=True, kw_only=True):
    """Its teardown cannot finish; it is retried and blocks nobody else."""

    TYPE: ClassVar[str] = "container.quarantined"
    reason: str = ""


class ExecStarted(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.exec_started"
    exec_id: str = ""
    argv: tuple[str, ...] = ()


class ExecEnded(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.exec_ended"
    exec_id: str = ""
    code: int | None = None


class ContainerRemoved(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "container.removed"


class NetworkFact(Record, frozen=True, kw_only=True):
    """A fact about one network."""

    TYPE: ClassVar[str]
    network: Network

    @property
    def subject(self) -> str:
        return f"network/{self.network.name}"


class NetworkCreated(NetworkFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "network.created"


class NetworkRemoved(NetworkFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "network.removed"


class NetworkObstructed(NetworkFact, frozen=True, kw_only=True):
    """Rules of another program drop what the network needs; these are all that are in its way now."""

    TYPE: ClassVar[str] = "network.obstructed"
    obstacles: tuple[Obstacle, ...]


class NetworkCleared(NetworkFact, frozen=True, kw_only=True):
    """Nothing is in its way any more."""

    TYPE: ClassVar[str] = "network.cleared"


class NetworkConnected(ContainerFact, frozen=True, kw_only=True):
    """One per network of a container; its subject is the container, so that it is ordered with the container's own."""

    TYPE: ClassVar[str] = "network.connected"
    endpoint: Endpoint


class NetworkLeft(ContainerFact, frozen=True, kw_only=True):
    """A user took a container off a network; if it is plugged in, `network.disconnected` follows."""

    TYPE: ClassVar[str] = "network.left"
    network: str = ""


class NetworkPublished(ContainerFact, frozen=True, kw_only=True):
    """The ports of a running container lead over this endpoint now: it was taken off the network of the one before."""

    TYPE: ClassVar[str] = "network.published"
    endpoint: Endpoint


class NetworkPortTaken(ContainerFact, frozen=True, kw_only=True):
    """While no daemon held a port of a running container, another program took it; the container still gets what is sent to
    the port from other machines."""

    TYPE: ClassVar[str] = "network.port_taken"
    port: PortBinding
    by: str = ""  # "process nginx (pid 12)"


class NetworkDisconnected(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "network.disconnected"
    endpoint: Endpoint


class NetworkRepaired(Record, frozen=True, kw_only=True):
    """Something that a container or network needs was gone and is back."""

    TYPE: ClassVar[str] = "network.repaired"
    object: str  # "link h-0123456789ab", "element publish tcp/8080", ...
    missing: str
    took_us: int
    by: str = ""  # "nft[1234]" where the kernel tells
    network: str = ""
    container_id: str = ""

    @property
    def subject(self) -> str:
        if self.container_id:
            return f"container/{self.container_id}"
        return f"network/{self.network}" if self.network else "daemon"  # the table is everybody's


class ImageFact(Record, frozen=True, kw_only=True):
    TYPE: ClassVar[str]
    image: Image

    @property
    def subject(self) -> str:
        return f"image/{self.image.id}"


class ImageCreated(ImageFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "image.created"


class ImagePulled(ImageFact, frozen=True, kw_only=True):
    """A registry was asked for it, and what it has is here now, whether or not it was before."""

    TYPE: ClassVar[str] = "image.pulled"
    name: str = ""


class ImageTagged(ImageFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "image.tagged"
    tag: str = ""


class ImageUntagged(ImageFact, frozen=True, kw_only=True):
    """It lost one of its names, by a removal or to another image."""

    TYPE: ClassVar[str] = "image.untagged"
    tag: str = ""


class ImageRemoved(ImageFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "image.removed"


class VolumeFact(Record, frozen=True, kw_only=True):
    TYPE: ClassVar[str]
    volume: Volume

    @property
    def subject(self) -> str:
        return f"volume/{self.volume.name}"


class VolumeCreated(VolumeFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "volume.created"


class VolumeRemoved(VolumeFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "volume.removed"


class HookFact(Record, frozen=True, kw_only=True):
    """The end of one run of a handler or hook for one event."""

    TYPE: ClassVar[str]
    handler: str
    event: str  # the id of the event it ran for
    attempt: int = 1
    detail: str = ""

    @property
    def subject(self) -> str:
        return f"hook/{self.handler}"


class HookSucceeded(HookFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "hook.succeeded"


class HookFailed(HookFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "hook.failed"


class HookDead(HookFact, frozen=True, kw_only=True):
    """Given up after the last attempt; it stands in the dead-letter list."""

    TYPE: ClassVar[str] = "hook.dead"


class DaemonStarted(Record, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "daemon.started"
    version: str
    pid: int

    @property
    def subject(self) -> str:
        return "daemon"


class DaemonRecovered(Record, frozen=True, kw_only=True):
    """Recovery after a start is complete."""

    TYPE: ClassVar[str] = "daemon.recovered"
    adopted: int = 0
    collected: int = 0
    repaired: int = 0
    took_us: int = 0

    @property
    def subject(self) -> str:
        return "daemon"


Fact = (
    ContainerCreated
    | ContainerStarted
    | ContainerExited
    | ContainerOom
    | ContainerPaused
    | ContainerResumed
    | ContainerRestarting
    | ContainerKilled
    | ContainerHealthChanged
    | ContainerRenamed
    | ContainerUpdated
    | ContainerStartFailed
    | ContainerCommitted
    | ContainerQuarantined
    | ExecStarted
    | ExecEnded
    | ContainerRemoved
    | NetworkCreated
    | NetworkRemoved
    | NetworkObstructed
    | NetworkCleared
    | NetworkConnected
    | NetworkLeft
    | NetworkPublished
    | NetworkPortTaken
    | NetworkDisconnected
    | NetworkRepaired
    | ImageCreated
    | ImagePulled
    | ImageTagged
    | ImageUntagged
    | ImageRemoved
    | VolumeCreated
    | VolumeRemoved
    | HookSucceeded
    | HookFailed
    | HookDead
    | DaemonStarted
    | DaemonRecovered
)


class PreCreate(ContainerFact, frozen=True, kw_only=True):
    """What gates are asked about (docs/design.md): not facts yet, so never in the journal.  A gate that raises refuses."""

    TYPE: ClassVar[str] = "pre-create"


class PreStart(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "pre-start"


class PreConnect(ContainerFact, frozen=True, kw_only=True):
    """The namespaces exist and init waits; the built-in gate `connect` plugs the cables here."""

    TYPE: ClassVar[str] = "pre-connect"
    pid: int = 0
    stages: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # answered by `connect`: microseconds of veth and rules


class PreStop(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "pre-stop"


class PreRemove(ContainerFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "pre-remove"


Question = PreCreate | PreStart | PreConnect | PreStop | PreRemove
F = TypeVar("F", bound=Record)

FACT_TYPES: dict[str, type[Fact]] = {cls.TYPE: cls for cls in Fact.__args__}
"""Wire type → class, the journal's decoder."""
_DECODERS: dict[str, msgspec.json.Decoder[Fact]] = {name: decoder(cls) for name, cls in FACT_TYPES.items()}


class Event(Record, frozen=True, kw_only=True):
    """A fact in its envelope.  `seq` is gapless within `epoch` (the store's uuid); `time` in ns since the Unix epoch."""

    epoch: str
    seq: int
    time: int
    fact: Fact
    cause: str = ""  # the id of the event that led here

    @property
    def id(self) -> str:
        """Also the cursor: reading `after` it begins with the next."""
        return f"{self.epoch}-{self.seq}"

    @property
    def type(self) -> str:
        return self.fact.TYPE

    @property
    def subject(self) -> str:
        return self.fact.subject


def encode_fact(fact: Fact) -> bytes:
    """A fact as the JSON the journal keeps beside its type.  Of the environment it has the names."""
    return encode(for_readers(fact))


def decode_fact(type_: str, data: bytes | str) -> Fact:
    """The inverse of `encode_fact`.  Raises KeyError for an unknown type, msgspec.ValidationError for a bad body."""
    fact = _DECODERS[type_].decode(data)
    if isinstance(fact, ContainerFact) and fact.container.wish is None and not _has_no_wish(data):
        wish = wishfields.wish_in(msgspec.json.decode(data)["container"])
        return replace(fact, container=replace(fact.container, wish=wish))
    return fact


def for_readers(fact: F) -> F:
    """The same with the fields that readers know from before, and without the values of variables, which hold secrets."""
    if isinstance(fact, ContainerFact):
        container = wishfields.shown(fact.container)
        if container.config.env:
            container = replace(container, config=replace(container.config, env=names_only(container.config.env)))
        return replace(fact, container=container)
    if isinstance(fact, ImageFact) and fact.image.config.env:
        config = replace(fact.image.config, env=names_only(fact.image.config.env))
        return replace(fact, image=replace(fact.image, config=config))
    return fact


def names_only(env: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of "NAME=value": events live longer than a container, and go to hooks, webhooks and other readers."""
    return tuple(item.partition("=")[0] for item in env)


def _has_no_wish(data: bytes | str) -> bool:
    """Rather than none that it could have had, in an event of before.  No value of a user's is an unquoted null."""
    return '"wish":null' in data if isinstance(data, str) else b'"wish":null' in data


def cloudevent(event: Event, node: str) -> dict[str, Any]:
    """The event as CloudEvents 1.0 structured JSON (cloudevents.io spec v1.0), ready to encode."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/node/{node}",
        "type": event.type,
        "subject": event.subject,
        "time": rfc3339(event.time),
        "datacontenttype": "application/json",
        "seq": event.seq,
        "epoch": event.epoch,
        "cause": event.cause,
        "data": msgspec.to_builtins(for_readers(event.fact), enc_hook=encode_hook),
    }


def rfc3339(ns: int) -> str:
    """Nanoseconds since the Unix epoch as docker writes a time: 2026-01-02T03:04:05.123456789Z; 0 is its zero time."""
    if not ns:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
