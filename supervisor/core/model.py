"""What hawse knows: frozen records of containers, networks, endpoints and images.

Pure: standard library and msgspec only, no clock, no randomness, no I/O.  Times are integer nanoseconds since the Unix
epoch.  These records are what the store keeps (as JSON) and what events carry; a new field needs a default, because older
rows lack it.  Docker's JSON is a *view* of them and lives in api/.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NewType, TypeVar

import msgspec

ContainerId = NewType("ContainerId", str)  # 64 hex digits
NetworkName = NewType("NetworkName", str)
ImageId = NewType("ImageId", str)  # "sha256:" + 64 hex digits

DEFAULT_NETWORK = NetworkName("bridge")
ID_RANGE = 65_536
"""User and group ids that one container's user namespace maps."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every record: immutable, compared by value; change one with `msgspec.structs.replace`."""


class State(StrEnum):
    """Where a container is in its life.  The machine's table says what may follow what (machine.py)."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"

    @property
    def is_running(self) -> bool:
        """Tell whether its program was exec'd and has not ended, also while it is paused: what docker calls Running."""
        return self in (State.RUNNING, State.PAUSED)

    @property
    def is_alive(self) -> bool:
        """A process of it may exist."""
        return self is State.STARTING or self.is_running


class Verb(StrEnum):
    """What a user may ask of a container that runs or waits to be restarted; `shutdown` is the engine's own."""

    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    REMOVE = "remove"
    SHUTDOWN = "shutdown"


class Wish(Record, frozen=True, kw_only=True):
    """What was asked of a container, and how it is to be done: kept until the next start, since a daemon may die before."""

    verb: Verb
    signal: int = 0  # what it gets for that; 0 when nothing is left to be sent
    grace: int = -1  # seconds after which SIGKILL follows; -1 never
    volumes: bool = False  # a removal that takes its own volumes with it


class ProcessIdentity(Record, frozen=True, kw_only=True):
    """A process that cannot be mistaken for another: pid alone is reused, (pid, start time, boot id) is not.

    `start_time` is field 22 of /proc/PID/stat in clock ticks since boot (proc(5)).
    """

    pid: int
    start_time: int
    boot_id: str


class Exit(Record, frozen=True, kw_only=True):
    """How the container's first process ended.  `code` None: nobody could know (`reason` says why)."""

    code: int | None
    signal: int | None = None
    oom: bool = False
    reason: str = ""
    finished_at: int = 0


class PortBinding(Record, frozen=True, kw_only=True):
    """One published port.  host_ip None = every address of the host; host_port 0 = any free one, and with
    `host_port_last` any free one from host_port to there (decided at each start)."""

    container_port: int
    proto: str = "tcp"
    host_ip: IPv4Address | None = None
    host_port: int = 0
    host_port_last: int = 0

    @property
    def place(self) -> str:
        """0.0.0.0:8080/tcp"""
        return f"{self.host_ip or '0.0.0.0'}:{self.host_port}/{self.proto}"


class MountSpec(Record, frozen=True, kw_only=True):
    """One user mount.  type bind: source is a host path; volume: source is a volume's name; tmpfs: no source."""

    type: str
    target: str
    source: str = ""
    read_only: bool = False
    options: str = ""  # tmpfs: "size=64m,mode=1777"; bind: propagation
    nocopy: bool = False  # volume: what the image has at the target is not copied into it
    labels: tuple[str, ...] = ()  # volume: "K=V" for one that is made for this
    own: bool = False  # volume: made for this container without a name, and may go with it
    listed: bool = False  # asked for in HostConfig.Mounts, where inspect shows it


class DeviceLimit(Record, frozen=True, kw_only=True):
    """Of one block device: a weight, or bytes or operations a second."""

    path: str
    value: int


class Resources(Record, frozen=True, kw_only=True):
    """Limits; None means unlimited.  memory in bytes; cpus in units of one core, or cpu_quota of cpu_period in µs."""

    memory: int | None = None
    memory_swap: int | None = None
    cpus: float | None = None
    cpu_quota: int | None = None  # -1 is unlimited
    cpu_period: int | None = None  # None is 100 ms
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None  # 0 to 100; cgroup v1
    oom_kill_disable: bool = False  # cgroup v1
    blkio_weight: int | None = None  # 10 to 1000
    blkio_weight_devices: tuple[DeviceLimit, ...] = ()
    read_bps: tuple[DeviceLimit, ...] = ()
    write_bps: tuple[DeviceLimit, ...] = ()
    read_iops: tuple[DeviceLimit, ...] = ()
    write_iops: tuple[DeviceLimit, ...] = ()


class EndpointRequest(Record, frozen=True, kw_only=True):
    """What the user asked of one network: a fixed address, aliases."""

    network: NetworkName
    ip: IPv4Address | None = None
    mac: str = ""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # "container:alias": names that others have for this container alone
    driver_opts: dict[str, str] = {}  # shown by inspect; no driver of ours has any


class RestartPolicy(Record, frozen=True, kw_only=True):
    """name: no, on-failure, always, unless-stopped (docker's)."""

    name: str = "no"
    max_retries: int = 0


class Healthcheck(Record, frozen=True, kw_only=True):
    """Docker's health check; durations in nanoseconds, 0 = docker's default.  test[0] is NONE, CMD or CMD-SHELL."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @property
    def is_enabled(self) -> bool:
        return len(self.test) > 1 and self.test[0] != "NONE"


class Ulimit(Record, frozen=True, kw_only=True):
    """One resource limit, by the name of setrlimit(2) in lower case without RLIMIT_ ("nofile")."""

    name: str
    soft: int
    hard: int


class Device(Record, frozen=True, kw_only=True):
    """A host device made visible inside; permissions are a subset of "rwm"."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


class OwnHook(Record, frozen=True, kw_only=True):
    """A hook of one container (`run --on`): a command for the host's shell.  Never from an image."""

    event: str
    command: str


class ContainerConfig(Record, frozen=True, kw_only=True):
    """What the user asked for, with the image's defaults already merged in.  Never changes except through `update`."""

    image: str = ""  # as typed; "" with rootfs
    image_id: ImageId | None = None
    rootfs: str = ""  # a directory used as the only lower layer instead of an image
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # "K=V"
    workdir: str = ""
    user: str = ""  # "name|uid[:group|gid]"
    hostname: str = ""
    domainname: str = ""
    labels: dict[str, str] = {}
    tty: bool = False
    console: tuple[int, ...] = ()  # rows and columns of its terminal at first
    stdin_open: bool = False
    stdin_once: bool = False
    auto_remove: bool = False
    network_mode: str = "bridge"  # a network's name, none, host, container:ID
    endpoints: tuple[EndpointRequest, ...] = ()  # empty for none, host, container:
    ports: tuple[PortBinding, ...] = ()
    exposed: tuple[str, ...] = ()  # "80/tcp"
    publish_all: bool = False
    mounts: tuple[MountSpec, ...] = ()
    resources: Resources = Resources()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    userns: str = ""  # "" = a range of its own, "host" = none
    no_new_privileges: bool = True
    seccomp: str = "default"  # default | unconfined
    apparmor: str = ""  # a profile, unconfined, "" = the default for a container of its kind
    read_only: bool = False
    init: bool = False
    stop_signal: str = "SIGTERM"
    stop_timeout: int = 10
    restart: RestartPolicy = RestartPolicy()
    healthcheck: Healthcheck = Healthcheck()
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = {}
    shm_size: int = 64 << 20
    oom_score_adj: int = 0
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()  # "c 189:* rwm": may be used, wherever their nodes are
    group_add: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:ip"
    links: tuple[str, ...] = ()  # "container:alias" on the default network: a line in /etc/hosts
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    log_max_size: int = 16 << 20
    log_max_files: int = 3
    log_driver: str = "json-file"  # docker's word for our files; journald: they and the journal; or none
    log_details: dict[str, str] = {}  # --log-opt labels=, env= and tag=: see logfields.py
    log_options: dict[str, str] = {}  # --log-opt as it was given
    shown: dict[str, str] = {}  # of HostConfig, what inspect shows as it was asked for and nothing comes of
    hooks: tuple[OwnHook, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments, as exec sees them."""
        return self.entrypoint + self.cmd

    @property
    def published(self) -> tuple[PortBinding, ...]:
        """Return what is published at a start: the ports asked for, and with --publish-all every other exposed one.

        Without a network of its own there is nothing to publish on; one that has left all of its networks may join others.
        """
        if self.network_mode in ("none", "host"):
            return ()
        if not (self.publish_all and self.endpoints):
            return self.ports
        named = {(binding.container_port, binding.proto) for binding in self.ports}
        exposed = [(int(port), proto) for port, _, proto in (e.partition("/") for e in self.exposed)]
        return self.ports + tuple(PortBinding(container_port=n, proto=p) for n, p in exposed if (n, p) not in named)


class Container(Record, frozen=True, kw_only=True):
    """One container's row.  The store's copy is the truth; everything in memory is a cache of it."""

    id: ContainerId
    name: str
    config: ContainerConfig
    state: State
    created_at: int
    uid_base: int | None = None  # first host id of its user namespace; None with --userns host
    process: ProcessIdentity | None = None
    shim: ProcessIdentity | None = None
    started_at: int = 0
    finished_at: int = 0
    exit: Exit | None = None
    error: str = ""  # why the last start failed, or why it is dead
    restart_count: int = 0
    wish: Wish | None = None  # what was asked of it since it started last
    oom_kills: int = 0  # in this run, as last told
    health: str = ""  # "", starting, healthy, unhealthy
    apparmor: str = ""  # the profile of its current or last run; "" where there was no AppArmor
    stages: dict[str, int] = {}  # of the last start: stage → microseconds
    story: tuple[str, ...] = ()  # the last transitions, for IllegalTransition

    @property
    def public(self) -> State:
        """Return its state in docker's words, which have none for a start that is under way: it is still what it was before."""
        if self.state is not State.STARTING:
            return self.state
        if self.restart_count:
            return State.RESTARTING
        return State.EXITED if self.started_at else State.CREATED

    @property
    def is_unfinished(self) -> bool:
        """Tell whether a wish is recorded and not carried out: it has still to end or, after `restart`, to start again."""
        restarts = self.is_asked_to(Verb.RESTART) and self.state is State.EXITED
        return self.wish is not None and self.wish.signal != 0 and (self.state.is_alive or restarts)

    def is_asked_to(self, verb: Verb) -> bool:
        return self.wish is not None and self.wish.verb is verb

    @property
    def is_stopped_by_user(self) -> bool:
        """Restart policies leave it alone.  A restart that is on its way stops nothing any more."""
        if self.wish is None or self.wish.verb is Verb.SHUTDOWN:
            return False
        return self.wish.verb is not Verb.RESTART or self.state not in (State.STARTING, State.RESTARTING)

    @property
    def is_leaving(self) -> bool:
        """It removes itself and has ended: for its users it is gone, what remains is our clean-up."""
        return self.config.auto_remove and self.state in (State.EXITED, State.REMOVING) and self.exit is not None


class Network(Record, frozen=True, kw_only=True):
    """A network that hawse made.  `device` is its device on the host, where it has one; no other network has it.

    Rows, events and clients call that field `bridge`: before there were other drivers it was one.
    """

    id: str
    name: NetworkName
    driver: str
    created_at: int
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None
    ip_range: IPv4Network | None = None  # the part of the subnet from which containers get addresses; None is all
    device: str = msgspec.field(default="", name="bridge")
    internal: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}

    @property
    def has_names(self) -> bool:
        """Names are answered for on its gateway: on all networks but the default one, as with docker."""
        return self.name != DEFAULT_NETWORK and self.gateway is not None


class Obstacle(Record, frozen=True, kw_only=True):
    """Another program's chain that drops what a network needs: `by` is "ip filter FORWARD", `remedy` a command to type."""

    what: str
    by: str
    remedy: str


class Lease(Record, frozen=True, kw_only=True):
    """An address kept for a container from create to remove."""

    network: NetworkName
    address: IPv4Address
    container_id: ContainerId


class Endpoint(Record, frozen=True, kw_only=True):
    """A plugged cable: exists from connect to disconnect.  `veth` is the host side, `ifname` the inside."""

    container_id: ContainerId
    network: NetworkName
    address: IPv4Address
    prefix: int
    mac: str
    gateway: IPv4Address | None
    veth: str
    ifname: str
    ports: tuple[PortBinding, ...] = ()
    aliases: tuple[str, ...] = ()
    connected_at: int = 0


class PortReservation(Record, frozen=True, kw_only=True):
    """A published port that somebody holds; its binding is resolved (host_port is never 0)."""

    binding: PortBinding
    container_id: ContainerId
    container_name: str


class Volume(Record, frozen=True, kw_only=True):
    """A named directory kept under the state directory."""

    name: str
    created_at: int
    labels: dict[str, str] = {}
    anonymous: bool = False


class ImageConfig(Record, frozen=True, kw_only=True):
    """The part of an OCI image config that a container start honours."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    exposed: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: Healthcheck = Healthcheck()


class Image(Record, frozen=True, kw_only=True):
    """An image: layers bottom first, each the name of a directory under layers/.

    One of a registry has its configuration's digest as its id, and `manifest`, `digests`, `blobs`: see images/blobs.py.
    """

    id: ImageId
    created_at: int
    layers: tuple[str, ...]
    tags: tuple[str, ...] = ()  # "name:tag"
    size: int = 0
    config: ImageConfig = ImageConfig()
    architecture: str = "amd64"
    history: tuple[str, ...] = ()  # one line a layer, oldest first
    parent: str = ""
    author: str = ""
    comment: str = ""  # what was said when it was made
    os: str = "linux"
    variant: str = ""  # of the architecture
    layer_sizes: tuple[int, ...] = ()  # bytes of files in each; () in records of before
    manifest: str = ""  # the digest of the one for this platform
    digests: tuple[str, ...] = ()  # "name@digest", as registries have it
    blobs: tuple[str, ...] = ()  # the layers' digests in the registry, as they are compressed


R = TypeVar("R", bound=Record)


def encode(record: Record | Sequence[Record]) -> bytes:
    """A record, or several, as the JSON that the store keeps and events carry."""
    return _ENCODER.encode(record)


def decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    """Return what reads `encode`'s JSON back; make it once per type.  Its decode() raises msgspec.ValidationError."""
    return msgspec.json.Decoder(kind, dec_hook=decode_hook)


def encode_hook(value: Any) -> str:
    """msgspec's enc_hook for the types of ours that it does not know: their text."""
    if isinstance(value, IPv4Address | IPv4Network):
        return str(value)
    raise NotImplementedError(f"no JSON for {type(value).__name__}")


def decode_hook(kind: type, value: Any) -> Any:
    """msgspec's dec_hook, the inverse of `encode_hook`."""
    if kind is IPv4Address or kind is IPv4Network:
        if not isinstance(value, str):  # a number would be taken for an address
            raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
        return kind(value)
    raise NotImplementedError(f"no {kind.__name__} in JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=encode_hook)
