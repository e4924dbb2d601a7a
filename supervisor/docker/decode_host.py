"""HostConfig's limits, security, names and logs → the model.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.hidden import MASKED, READ_ONLY
from hawse.supervisor.core.logfields import check_tag
from hawse.supervisor.core.model import ContainerConfig, Device, DeviceLimit, Resources, RestartPolicy, Ulimit
from hawse.supervisor.docker.body import Body, invalid

MINIMUM_MEMORY = 6 << 20  # docker's own; below it a container cannot even start its program
RLIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_CPUSET = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*\Z")
_DEVICE_RULE = re.compile(r"[acb] (\d{1,9}|\*):(\d{1,9}|\*) [rwm]{1,3}\Z", re.ASCII)
_SIZE = re.compile(r"(\d{1,12})([bkmg]?)b?\Z", re.IGNORECASE)
_SCALE = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# sysctls that belong to a namespace (network, ipc, uts); any other would change the host
_SYSCTLS_IPC = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
_REFUSED = (
    ("PidMode", ("",), "sharing the pid namespace"),
    ("IpcMode", ("", "private", "shareable", "none"), "sharing the ipc namespace"),
    ("UTSMode", ("",), "sharing the uts namespace"),
    ("CgroupnsMode", ("", "private"), "sharing the cgroup namespace"),
    ("Isolation", ("", "default"), "this isolation technology"),
)


def refuse_unsupported(outer: Body, warnings: list[str]) -> None:
    """Options that hawse cannot honour: refused when leaving them out would change what the program sees."""
    for field, accepted, what in _REFUSED:
        value = outer.text(field)
        if value not in accepted:
            raise UserError(f"invalid {outer.path(field)}: {value!r}: hawse does not support {what}")
    if values := outer.strings("VolumesFrom"):
        raise invalid(outer.path("VolumesFrom"), list(values), "absent: not supported")
    if list(outer.bodies("DeviceRequests")):
        raise UserError("could not select device driver: hawse has none (HostConfig.DeviceRequests)")
    if outer.text("CgroupParent"):
        raise invalid(
            outer.path("CgroupParent"),
            outer.text("CgroupParent"),
            "absent: all containers are below one cgroup, by which hawse knows its own; for limits of all together see "
            "`systemctl edit hawse-containers.service`",
        )
    for field, text in (
        ("KernelMemory", "kernel memory limit"),
        ("CpuRealtimeRuntime", "CPU real-time runtime"),
    ):
        if outer.integer(field, 0) > 0:
            warnings.append(f"{text} is not supported and was discarded ({outer.path(field)})")
    if outer.flag("OomKillDisable") and not outer.integer("Memory", 0):
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    if outer.text("VolumeDriver") not in ("", "local"):
        warnings.append(f"volume driver is not supported and was discarded ({outer.path('VolumeDriver')})")
    # An empty list asks for none; what holds anyway is what inspect shows and clients send back.
    held = (("MaskedPaths", MASKED), ("ReadonlyPaths", READ_ONLY))
    discarded = [field for field, paths in held if field in outer and outer.strings(field) != paths]
    discarded += ["StorageOpt"] if outer.strings_map("StorageOpt") else []
    warnings += [f"{outer.path(field)} is not supported and was discarded" for field in discarded]
    if (runtime := outer.text("Runtime")) not in ("", "runc", "hawse"):
        raise UserError(f"unknown or invalid runtime name: {runtime}")


_UNUSED = (
    "Annotations",
    "Cgroup",
    "CpuCount",
    "CpuPercent",
    "CpuRealtimePeriod",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "KernelMemoryTCP",
)
"""Of HostConfig: for other systems, other runtimes, or what kernels no longer have."""
_SHOWN = ("ContainerIDFile", "Isolation", "Runtime")


def warn_of_unused(body: Body, outer: Body, warnings: list[str]) -> None:
    """Warn of what changes nothing here, so that nobody believes it does."""
    unused = [body.path(field) for field in ("OnBuild", "Shell") if body.asks(field)]
    unused += [outer.path(field) for field in _UNUSED if outer.asks(field)]
    if (mode := outer.text("IpcMode")) in ("none", "shareable"):
        unused.append(f"{outer.path('IpcMode')} {mode!r}")
    networks = body.body("NetworkingConfig").body("EndpointsConfig")
    for endpoint in map(networks.body, networks):
        unused += [endpoint.path(f"DriverOpts.{option}") for option in endpoint.strings_map("DriverOpts")]
    warnings += [f"{field} is not supported and was discarded" for field in unused]


def shown(outer: Body) -> dict[str, str]:
    """Return what inspect shows as it was given, because clients compare; what it could ask for has been seen to."""
    given = {field: outer.text(field) for field in _SHOWN}
    given["VolumeDriver"] = outer.text("VolumeDriver") if outer.text("VolumeDriver") == "local" else ""
    return {field: text for field, text in given.items() if text and (field, text) != ("Runtime", "hawse")}


def resources(outer: Body, within: Resources | None = None) -> Resources:
    """Limits; Docker's 0 and -1 mean none.  `within`: those that hold already, when some are changed."""
    memory = outer.integer("Memory", 0, least=0)
    if 0 < memory < MINIMUM_MEMORY:
        raise UserError(f"Minimum memory limit allowed is 6MB: {memory}", hint="HostConfig.Memory, in bytes")
    swap = outer.integer("MemorySwap", 0, least=-1)
    held = (within.memory or 0, within.memory_swap or 0) if within else (0, 0)
    if swap > 0 and not (memory or held[0]):
        raise UserError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < (swap or held[1]) < (memory or held[0]):
        raise UserError("Minimum memoryswap limit should be larger than memory limit, see usage")
    pids = outer.integer("PidsLimit", 0, least=-1, most=1 << 22)
    shares = outer.integer("CpuShares", 0, least=0, most=262_144)
    for field, what in (("CpusetCpus", "cpus"), ("CpusetMems", "mems")):
        if (cpuset := outer.text(field)) and not _CPUSET.match(cpuset):
            raise UserError(f"Invalid value {cpuset} for cpuset {what}", hint="a list such as 0,2-3")
    swappiness = outer.integer("MemorySwappiness", -1)
    if not -1 <= swappiness <= 100:
        raise UserError(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    cpus, quota, period = _cpu_time(outer)
    reservation = outer.integer("MemoryReservation", 0, least=0)
    if 0 < reservation < MINIMUM_MEMORY:
        raise UserError(f"Minimum memory reservation allowed is 6MB: {reservation}", hint="in bytes")
    kept = reservation or (within.memory_reservation or 0 if within else 0)
    if 0 < (memory or held[0]) < kept:
        raise UserError("Minimum memory limit can not be less than memory reservation limit, see usage")
    return Resources(
        memory_reservation=reservation or None,
        blkio_weight=_weight(outer.integer("BlkioWeight", 0, least=0)) or None,
        blkio_weight_devices=tuple(
            replace(d, value=_weight(d.value)) for d in _device_limits(outer, "BlkioWeightDevice", "Weight")
        ),
        read_bps=_device_limits(outer, "BlkioDeviceReadBps", "Rate"),
        write_bps=_device_limits(outer, "BlkioDeviceWriteBps", "Rate"),
        read_iops=_device_limits(outer, "BlkioDeviceReadIOps", "Rate"),
        write_iops=_device_limits(outer, "BlkioDeviceWriteIOps", "Rate"),
        memory=memory or None,
        memory_swap=swap or None,
        cpus=cpus,
        cpu_quota=quota,
        cpu_period=period,
        cpu_shares=shares or None,
        cpuset_cpus=outer.text("CpusetCpus"),
        cpuset_mems=outer.text("CpusetMems"),
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=outer.flag("OomKillDisable"),
        pids_limit=pids if pids > 0 else None,
    )


def _weight(weight: int) -> int:
    if weight and not 10 <= weight <= 1000:
        raise UserError(f"Range of blkio weight is from 10 to 1000: {weight}")
    return weight


def _device_limits(outer: Body, field: str, key: str) -> tuple[DeviceLimit, ...]:
    found = []
    for given in outer.bodies(field):
        path = given.text("Path")
        if not path.startswith("/dev/"):
            raise invalid(given.path("Path"), path, "a block device below /dev")
        found.append(DeviceLimit(path=path, value=given.integer(key, 0, least=0)))
    return tuple(found)


def update(config: ContainerConfig, body: Body) -> ContainerConfig:
    """POST /containers/X/update: what is absent (or 0, for those limits where 0 means none) stays as it is."""
    asked, now = resources(body, within=config.resources), config.resources
    limits = replace(
        now,
        memory_reservation=asked.memory_reservation or now.memory_reservation,
        memory_swappiness=now.memory_swappiness if asked.memory_swappiness is None else asked.memory_swappiness,
        oom_kill_disable=asked.oom_kill_disable or now.oom_kill_disable,
        blkio_weight=asked.blkio_weight or now.blkio_weight,
        memory=asked.memory or now.memory,
        memory_swap=asked.memory_swap or now.memory_swap,
        cpus=asked.cpus or (None if asked.cpu_quota or asked.cpu_period else now.cpus),
        cpu_quota=None if asked.cpus else asked.cpu_quota or now.cpu_quota,
        cpu_period=None if asked.cpus else asked.cpu_period or now.cpu_period,
        cpu_shares=asked.cpu_shares or now.cpu_shares,
        cpuset_cpus=asked.cpuset_cpus or now.cpuset_cpus,
        cpuset_mems=asked.cpuset_mems or now.cpuset_mems,
        pids_limit=asked.pids_limit if "PidsLimit" in body else now.pids_limit,
    )
    policy = restart_policy(body) if body.body("RestartPolicy").text("Name") else config.restart
    if config.auto_remove and policy.name != "no":
        raise UserError("Restart policy cannot be updated because AutoRemove is enabled for the container")
    return replace(config, resources=limits, restart=policy)


_UPDATED = frozenset(
    "BlkioWeight CpuPeriod CpuQuota CpuShares CpusetCpus CpusetMems Memory MemoryReservation MemorySwap MemorySwappiness "
    "NanoCpus OomKillDisable PidsLimit RestartPolicy".split()
)


def not_updated(body: Body) -> list[str]:
    """Warnings of what a container keeps as it was made, whatever an update asks for."""
    known = {field.lower() for field in _UPDATED}
    return [
        f"{field} cannot be updated and was discarded"
        for field in body
        if body.asks(field) and field.lower() not in known
    ]


def _cpu_time(outer: Body) -> tuple[float | None, int | None, int | None]:
    """NanoCpus, or the older quota and period; None for what was not given."""
    nano = outer.integer("NanoCpus", 0, least=0, most=10**15)
    period = outer.integer("CpuPeriod", 0, least=0, most=1_000_000)
    quota = outer.integer("CpuQuota", 0, least=-1, most=10**12)
    if nano and (period or quota):
        raise UserError("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
    if nano:
        if nano < 10_000_000:
            raise UserError(f"Range of CPUs is from 0.01 up: {nano / 1e9:g} is too little", hint="HostConfig.NanoCpus")
        return nano / 1e9, None, None
    if period and period < 1000:
        raise UserError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise UserError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return None, quota or None, period or None


def restart_policy(outer: Body) -> RestartPolicy:
    given = outer.body("RestartPolicy")
    name = given.text("Name") or "no"
    retries = given.integer("MaximumRetryCount", 0, least=0, most=1 << 31)
    if name not in ("no", "always", "on-failure", "unless-stopped"):
        raise UserError(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if retries and name != "on-failure":
        raise UserError("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    return RestartPolicy(name=name, max_retries=retries)


def ulimits(outer: Body) -> tuple[Ulimit, ...]:
    found = {}
    for given in outer.bodies("Ulimits"):
        name = given.text("Name").lower()
        if name not in RLIMITS:
            raise UserError(f"invalid ulimit type: {name}", hint=f"known: {', '.join(sorted(RLIMITS))}")
        soft, hard = given.integer("Soft", 0, least=-1), given.integer("Hard", 0, least=-1)
        if hard != -1 and (soft > hard or soft == -1):
            raise UserError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        found[name] = Ulimit(name=name, soft=soft, hard=hard)
    return tuple(found.values())


def sysctls(outer: Body, mode: str) -> dict[str, str]:
    """Only those of the container's own namespaces."""
    given = outer.strings_map("Sysctls")
    for name in given:
        network = name.startswith("net.")
        if network and mode == "host":
            raise UserError(f"sysctl '{name}' is not allowed in host network namespace")
        if not (network or name in _SYSCTLS_IPC or name.startswith("fs.mqueue.")) or "/" in name or ".." in name:
            raise UserError(
                f"sysctl '{name}' is not allowed", hint="only net.*, fs.mqueue.* and kernel.{shm*,msg*,sem}"
            )
    return given


def devices(outer: Body) -> tuple[Device, ...]:
    found = []
    for given in outer.bodies("Devices"):
        host, inside = given.text("PathOnHost"), given.text("PathInContainer")
        permissions = given.text("CgroupPermissions") or "rwm"
        for path in (host, inside or host):
            if not path.startswith("/"):
                raise invalid(given.path("PathOnHost"), path, "an absolute path such as /dev/fuse")
        if not set(permissions) <= set("rwm"):
            raise invalid(given.path("CgroupPermissions"), permissions, "some of r, w and m")
        found.append(Device(host_path=host, container_path=inside or host, permissions=permissions))
    return tuple(found)


def device_rules(outer: Body) -> tuple[str, ...]:
    rules = outer.strings("DeviceCgroupRules")
    for rule in rules:
        if not _DEVICE_RULE.match(rule):
            raise UserError(
                f"invalid device cgroup rule format: '{rule[:80]}'",
                hint="such as 'c 189:* rwm': a, b or c; MAJOR:MINOR",
            )
    return rules


def extra_hosts(outer: Body) -> tuple[str, ...]:
    """`name:address`, as which `name=address` is kept too; host-gateway stands for the address of the network's gateway."""
    found = []
    for index, value in enumerate(outer.strings("ExtraHosts")):
        name, _, address = value.partition("=" if "=" in value else ":")
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if not name or any(c.isspace() for c in name) or (address != "host-gateway" and not _is_address(address)):
            raise UserError(f"invalid IP address in add-host: {address!r}", hint=f"ExtraHosts[{index}], NAME:ADDRESS")
        found.append(f"{name}:{address}")
    return tuple(found)


def resolvers(outer: Body) -> tuple[str, ...]:
    values = outer.strings("Dns")
    for value in values:
        if not _is_address(value):
            raise UserError(f"bad DNS address: {value!r}", hint="HostConfig.Dns, an IP address")
    return values


_ELSEWHERE = ("awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk", "syslog")
"""Docker's drivers that send logs to where hawse does not."""


@dataclass(frozen=True, slots=True)
class Logging:
    driver: str
    max_size: int
    max_files: int
    details: dict[str, str]


def logging(outer: Body, warnings: list[str]) -> Logging:
    """LogConfig: files of ours whatever the driver, but for `none`; for `journald` they are what docker calls its cache."""
    default = ContainerConfig()
    size, files = default.log_max_size, default.log_max_files
    driver = outer.body("LogConfig").text("Type") or default.log_driver
    options = outer.body("LogConfig").strings_map("Config")
    if driver == "none":
        return Logging("none", size, files, {})
    if driver not in ("json-file", "local", "journald", *_ELSEWHERE):
        raise UserError(
            f"logger: no log driver named '{driver[:80]}' is registered"
        )  # exactly: docker-py's users match it
    if driver in _ELSEWHERE:
        warnings.append(f"log driver {driver!r} is not supported; logs are kept in files and read with logs")
        return Logging(default.log_driver, size, files, {})
    journald = driver == "journald"
    cache, known = ("cache-", {"tag", "cache-disabled"}) if journald else ("", set[str]())
    known |= {f"{cache}max-size", f"{cache}max-file", "labels", "env", "mode", "max-buffer-size"}
    for name in options:
        if name not in known and name not in (f"{cache}compress", "tag", "labels-regex", "env-regex"):
            raise UserError(f"unknown log opt '{name[:80]}' for {driver} log driver")
        if name not in known:
            warnings.append(f"log option {name!r} is not supported and was discarded")
    if (disabled := options.get("cache-disabled", "false")) != "false":
        raise invalid("HostConfig.LogConfig.Config.cache-disabled", disabled, "false: logs reads the files")
    if text := options.get(f"{cache}max-size"):
        match = _SIZE.match(text)
        if not match or not (size := int(match[1]) * _SCALE[match[2].lower()]):
            raise invalid(f"HostConfig.LogConfig.Config.{cache}max-size", text, "a size such as 10m")
    if text := options.get(f"{cache}max-file"):
        files = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
        if not files:
            raise invalid(f"HostConfig.LogConfig.Config.{cache}max-file", text, "a number of files, 1 or more")
    kept = {name: text for name, text in options.items() if name in known & {"labels", "env", "tag"} and text}
    check_tag(kept.get("tag", ""))
    return Logging(driver if journald else default.log_driver, size, files, kept)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
