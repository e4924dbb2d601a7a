"""The flags of `run` and `create` as the body of POST /containers/create.

What is the same for every client is checked here (the value's form); what depends on the host or on other containers is the
daemon's to check.
"""

from __future__ import annotations

import os

from hawse.cli.errors import Failure
from hawse.cli.flags import limits, mounts, ports
from hawse.cli.flags.flags import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STREAMS = ("stdin", "stdout", "stderr")


def body(options: Options, image: str, command: list[str]) -> dict[str, Any]:
    """Raises Failure for what cannot be meant."""
    if options.rm and options.restart not in ("no", ""):
        raise Failure("conflicting options: cannot specify both --restart and --rm")
    if options.pull not in ("missing", "never"):
        raise Failure(
            f'invalid argument "{options.pull}" for "--pull" flag: missing or never, since images come from `hawse import`'
        )
    bindings = ports.published(options.publish)
    binds, anonymous = mounts.split_volumes(options.volume)
    attached = attached_streams(options)
    mode, endpoints = _networks(options)
    built = {
        "Hostname": options.hostname,
        "Domainname": options.domainname,
        "User": options.user,
        "AttachStdin": "stdin" in attached,
        "AttachStdout": "stdout" in attached,
        "AttachStderr": "stderr" in attached,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive and "stdin" in attached,
        "Env": environment(options),
        "Cmd": command or None,
        "Image": image,
        "Volumes": {target: {} for target in anonymous},
        "ExposedPorts": {port: {} for port in (*bindings, *ports.exposed(options.expose))},
        "WorkingDir": options.workdir,
        "Labels": _labels(options),
        "StopSignal": options.stop_signal,
        "HostConfig": _host(options, bindings, binds, mode),
        "NetworkingConfig": {"EndpointsConfig": endpoints},
    }
    if options.given("entrypoint"):
        built["Entrypoint"] = [options.entrypoint]
    if options.stop_timeout >= 0:
        built["StopTimeout"] = options.stop_timeout
    if check := _health(options):
        built["Healthcheck"] = check
    extension: dict[str, Any] = {}
    if options.rootfs:
        extension["Rootfs"] = os.path.abspath(options.rootfs)
    if options.on:
        extension["Hooks"] = [_own_hook(text) for text in options.on]
    if extension:
        built["Hawse"] = extension
    return built


def _own_hook(text: str) -> dict[str, str]:
    event, equals, command = text.partition("=")
    if not (event and equals and command):
        raise Failure(
            f'invalid argument "{text}" for "--on" flag: EVENT=COMMAND, such as container.exited="logger gone"'
        )
    return {"Event": event, "Command": command}


def attached_streams(options: Options) -> frozenset[str]:
    """The streams that a foreground run connects."""
    chosen = [stream.lower() for stream in options.attach]
    for stream in chosen:
        if stream not in _STREAMS:
            raise Failure(
                f'invalid argument "{stream}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR'
            )
    if chosen:
        return frozenset(chosen)
    return frozenset(_STREAMS if options.interactive else _STREAMS[1:])


def environment(options: Options) -> list[str]:
    """Return that of --env-file, then of --env; a name alone passes on this process's value.

    Where this process has none, --env takes the image's away, and a line of a file says nothing: as with docker.
    """
    filed = [line for path in options.env_file for line in _lines(path, "environment variable")]
    wanted = [line for line in filed if "=" in line or line in os.environ] + options.env
    return [f"{entry}={os.environ[entry]}" if entry in os.environ else entry for entry in wanted]


def key_values(pairs: list[str]) -> dict[str, str]:
    """`NAME=VALUE` or `NAME` alone (an empty value)."""
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _labels(options: Options) -> dict[str, str]:
    lines = [line for path in options.label_file for line in _lines(path, "label")]
    return key_values(lines + options.label)


def _lines(path: str, what: str) -> list[str]:
    """A file of NAME=VALUE lines; comments and blank lines are left out.  Raises Failure."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.lstrip().rstrip("\n") for line in file]
    except OSError as e:
        raise Failure(f"open {path}: {(e.strerror or str(e)).lower()}") from None
    except UnicodeDecodeError:
        raise Failure(f"{path}: invalid utf8 bytes") from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name or any(c in name for c in " \t"):
            raise Failure(f"invalid {what} in {path}, line {number}: '{name}' contains whitespaces or is empty")
        found.append(line)
    return found


def _host(options: Options, bindings: ports.Places, binds: list[str], mode: str) -> dict[str, Any]:
    try:
        devices = [limits.parse_device(text) for text in options.device]
        restart = limits.parse_restart(options.restart)
        block_io = {
            field: [limits.parse_device_limit(text, key) for text in given]
            for field, key, given in (
                ("BlkioWeightDevice", "Weight", options.blkio_weight_device),
                ("BlkioDeviceReadBps", "Rate", options.device_read_bps),
                ("BlkioDeviceWriteBps", "Rate", options.device_write_bps),
                ("BlkioDeviceReadIOps", "Rate", options.device_read_iops),
                ("BlkioDeviceWriteIOps", "Rate", options.device_write_iops),
            )
        }
    except ValueError as e:
        raise Failure(str(e)) from None
    host: dict[str, Any] = {
        "AutoRemove": options.rm,
        "Binds": binds,
        "Mounts": options.mount,
        "Tmpfs": {target: rest for target, _, rest in (text.partition(":") for text in options.tmpfs)},
        "NetworkMode": mode,
        "PortBindings": bindings,
        "PublishAllPorts": options.publish_all,
        "RestartPolicy": restart,
        "Memory": options.memory,
        "MemorySwap": options.memory_swap,
        "MemoryReservation": options.memory_reservation,
        "NanoCpus": options.cpus,
        "CpuShares": options.cpu_shares,
        "CpuPeriod": options.cpu_period,
        "CpuQuota": options.cpu_quota,
        "CpusetCpus": options.cpuset_cpus,
        "CpusetMems": options.cpuset_mems,
        "OomScoreAdj": options.oom_score_adj,
        "OomKillDisable": options.oom_kill_disable,
        "MemorySwappiness": options.memory_swappiness,
        "BlkioWeight": options.blkio_weight,
        **block_io,
        "Ulimits": options.ulimit,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "Privileged": options.privileged,
        "SecurityOpt": options.security_opt,
        "UsernsMode": options.userns,
        "Sysctls": key_values(options.sysctl),
        "ReadonlyRootfs": options.read_only,
        "ShmSize": options.shm_size,
        "Devices": devices,
        "DeviceCgroupRules": options.device_cgroup_rule,
        "GroupAdd": options.group_add,
        "ExtraHosts": options.add_host,
        "Dns": options.dns,
        "DnsSearch": options.dns_search,
        "DnsOptions": options.dns_option,
        "Links": options.link,
        "VolumesFrom": options.volumes_from,
        "IpcMode": options.ipc,
        "PidMode": options.pid,
        "UTSMode": options.uts,
        "CgroupnsMode": options.cgroupns,
        "CgroupParent": options.cgroup_parent,
        "Isolation": options.isolation,
        "Runtime": options.runtime,
        "LogConfig": {"Type": options.log_driver, "Config": key_values(options.log_opt)},
    }
    if options.given("pids-limit"):
        host["PidsLimit"] = options.pids_limit
    if options.given("init"):
        host["Init"] = options.init
    return host


def _networks(options: Options) -> tuple[str, dict[str, Any]]:
    """NetworkMode and EndpointsConfig.  `--ip`, `--network-alias` and `--mac-address` are about the first network."""
    names = [_network(text) for text in options.network or ["default"]]
    mode, first = names[0]
    if options.ip or options.ip6:
        address = {"IPv4Address": options.ip, "IPv6Address": options.ip6}
        first["IPAMConfig"] = {family: value for family, value in address.items() if value}
    if options.network_alias:
        first["Aliases"] = [*first.get("Aliases", ()), *options.network_alias]
    if options.mac_address:
        first["MacAddress"] = options.mac_address
    isolated = mode in ("none", "host") or mode.startswith("container:")
    if isolated and first:
        raise Failure(f"conflicting options: an address, alias or MAC address and the network mode {mode}")
    return mode, {} if isolated and len(names) == 1 else dict(names)


def _network(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME`, or `name=NAME,alias=…,ip=…,mac-address=…`."""
    if "=" not in text:
        return text, {}
    name = ""
    settings: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        match key.strip().lower():
            case "name":
                name = value
            case "alias":
                settings.setdefault("Aliases", []).append(value)
            case "ip":
                settings.setdefault("IPAMConfig", {})["IPv4Address"] = value
            case "ip6":
                settings.setdefault("IPAMConfig", {})["IPv6Address"] = value
            case "mac-address":
                settings["MacAddress"] = value
            case _:
                raise Failure(f'invalid argument "{text}" for "--network" flag: invalid key {key!r} in {part!r}', 125)
    if not name:
        raise Failure(f'invalid argument "{text}" for "--network" flag: network name/id is not specified', 125)
    return name, settings


def _health(options: Options) -> dict[str, Any]:
    if options.no_healthcheck:
        if options.health_cmd:
            raise Failure("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    times = {
        "Interval": options.health_interval,
        "Timeout": options.health_timeout,
        "StartPeriod": options.health_start_period,
        "StartInterval": options.health_start_interval,
        "Retries": options.health_retries,
    }
    for name, value in times.items():
        if value < 0:
            raise Failure(f"--health-{name.lower()} cannot be negative")
    check: dict[str, Any] = {name: value for name, value in times.items() if value}
    if options.health_cmd:
        check["Test"] = ["CMD-SHELL", options.health_cmd]
    return check
