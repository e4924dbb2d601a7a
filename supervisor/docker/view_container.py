"""Containers in Docker's JSON: a line of the list, and inspect.  Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.health import History
from hawse.supervisor.core.model import Container, ContainerConfig, Endpoint, MountSpec, PortBinding, State
from hawse.supervisor.docker import text, view_network
from hawse.supervisor.docker.view_host import host_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a view needs beside the record itself."""

    network_ids: Mapping[str, str]  # network name → id
    volumes: str  # the directory that holds the volumes
    log_path: str = ""
    etc_files: tuple[str, str, str] = ("", "", "")  # host paths of resolv.conf, hostname, hosts
    sizes: tuple[int, int] | None = None  # (read-write layer, whole root) in bytes, when asked for
    execs: tuple[str, ...] = field(default=())
    health: History = field(default=History())


def summary(container: Container, endpoints: tuple[Endpoint, ...], around: Surroundings, now: int) -> dict[str, Any]:
    """Show one element of GET /containers/json."""
    config = container.config
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": image_name(config),
        "ImageID": config.image_id or "",
        "Command": shlex.join(config.argv),
        "Created": container.created_at // 10**9,
        "Ports": _port_list(config, endpoints),
        "Labels": config.labels,
        "State": container.public,
        "Status": text.status(container, now),
        "HostConfig": {"NetworkMode": config.network_mode},
        "NetworkSettings": {"Networks": _networks(container, endpoints, around)},
        "Mounts": _mounts(config, around.volumes),
    }


def inspect(container: Container, endpoints: tuple[Endpoint, ...], around: Surroundings) -> dict[str, Any]:
    """GET /containers/X/json."""
    config = container.config
    view = {
        "Id": container.id,
        "Created": rfc3339(container.created_at),
        "Path": config.argv[0] if config.argv else "",
        "Args": list(config.argv[1:]),
        "State": state(container, around.health),
        "Image": config.image_id or "",
        **dict(zip(("ResolvConfPath", "HostnamePath", "HostsPath"), around.etc_files, strict=True)),
        "LogPath": around.log_path,
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": container.apparmor,
        "ExecIDs": list(around.execs) or None,
        "HostConfig": host_config(config, container.name),
        "GraphDriver": {"Name": "overlay2", "Data": None},
        "Mounts": _mounts(config, around.volumes),
        "Config": _config(container),
        "NetworkSettings": _network_settings(container, endpoints, around),
        "Hawse": {
            "Stages": container.stages,
            "UidBase": container.uid_base,
            "Rootfs": config.rootfs,
            "Hooks": [{"Event": hook.event, "Command": hook.command} for hook in config.hooks],
            "Story": list(container.story),
        },
    }
    if around.sizes:
        view |= {"SizeRw": around.sizes[0], "SizeRootFs": around.sizes[1]}
    return view


def state(container: Container, history: History) -> dict[str, Any]:
    running = container.state.is_running or container.public is State.RESTARTING
    ended = container.exit
    view: dict[str, Any] = {
        "Status": container.public,
        "Running": running,
        "Paused": container.state is State.PAUSED,
        "Restarting": container.public is State.RESTARTING,
        "OOMKilled": container.oom_kills > 0 or bool(ended and ended.oom),
        "Dead": container.state is State.DEAD,
        "Pid": container.process.pid if container.process and container.state.is_running else 0,
        "ExitCode": text.exit_code(container),
        "Error": container.error or (ended.reason if ended else ""),
        "StartedAt": rfc3339(container.started_at),
        "FinishedAt": rfc3339(container.finished_at),
    }
    if container.health:
        view["Health"] = {
            "Status": container.health,
            "FailingStreak": history.failing,
            "Log": [
                {"Start": rfc3339(r.started_at), "End": rfc3339(r.ended_at), "ExitCode": r.code, "Output": r.output}
                for r in history.results
            ],
        }
    return view


def image_name(config: ContainerConfig) -> str:
    """Return it as the user typed it; a container made from a directory shows the directory."""
    return config.image or config.rootfs


def _mounts(config: ContainerConfig, volumes: str) -> list[dict[str, Any]]:
    """Show those that docker calls mount points: what --tmpfs makes is not among them."""
    return [mount(m, volumes) for m in config.mounts if m.type != "tmpfs" or m.listed]


def mount(spec: MountSpec, volumes: str) -> dict[str, Any]:
    view = {
        "Type": spec.type,
        "Source": spec.source,
        "Destination": spec.target,
        "Mode": "ro" if spec.read_only else "",
        "RW": not spec.read_only,
        "Propagation": "",
    }
    if spec.type == "bind":
        view["Propagation"] = spec.options or "rprivate"
    elif spec.type == "volume":
        view |= {"Name": spec.source, "Driver": "local", "Source": f"{volumes}/{spec.source}"}
    return view


def port_key(binding: PortBinding) -> str:
    return f"{binding.container_port}/{binding.proto}"


def host_address(binding: PortBinding) -> str:
    return str(binding.host_ip) if binding.host_ip else "0.0.0.0"


def _port_list(config: ContainerConfig, endpoints: tuple[Endpoint, ...]) -> list[dict[str, Any]]:
    published = [b for e in endpoints for b in e.ports]
    lines: list[dict[str, Any]] = [
        {"IP": host_address(b), "PrivatePort": b.container_port, "PublicPort": b.host_port, "Type": b.proto}
        for b in dict.fromkeys(published)
    ]
    taken = {port_key(b) for b in published}
    if endpoints:
        for exposed in config.exposed:
            if exposed not in taken:
                port, _, proto = exposed.partition("/")
                lines.append({"PrivatePort": int(port), "Type": proto})
    return lines


def _networks(container: Container, endpoints: tuple[Endpoint, ...], around: Surroundings) -> dict[str, Any]:
    config = container.config
    plugged = {e.network: e for e in endpoints}
    asked = {r.network: r for r in config.endpoints}
    names = dict.fromkeys([*asked, *plugged])
    if config.network_mode in ("none", "host"):
        return {
            config.network_mode: view_network.endpoint(
                container.id, around.network_ids.get(config.network_mode, ""), None, None
            )
        }
    return {
        name: view_network.endpoint(container.id, around.network_ids.get(name, ""), asked.get(name), plugged.get(name))
        for name in names
    }


def _network_settings(container: Container, endpoints: tuple[Endpoint, ...], around: Surroundings) -> dict[str, Any]:
    """With the fields of the one default network at the top, which clients of API 1.51 and before read."""
    ports: dict[str, list[dict[str, str]] | None] = {}
    if endpoints:
        ports = dict.fromkeys(container.config.exposed)
    for binding in dict.fromkeys(b for e in endpoints for b in e.ports):
        place = {"HostIp": host_address(binding), "HostPort": str(binding.host_port)}
        ports[port_key(binding)] = [*(ports.get(port_key(binding)) or []), place]
    default = next((e for e in endpoints if e.network == "bridge"), None)
    top = view_network.endpoint(container.id, around.network_ids.get("bridge", ""), None, default)
    process = container.process if container.state.is_running else None
    return {
        "Bridge": "",
        "SandboxID": container.id if process else "",
        "SandboxKey": f"/proc/{process.pid}/ns/net" if process else "",
        "Ports": ports,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{
            key: top[key]
            for key in (
                "EndpointID",
                "Gateway",
                "GlobalIPv6Address",
                "GlobalIPv6PrefixLen",
                "IPAddress",
                "IPPrefixLen",
                "IPv6Gateway",
                "MacAddress",
            )
        },
        "Networks": _networks(container, endpoints, around),
    }


def _config(container: Container) -> dict[str, Any]:
    config = container.config
    attached = config.stdin_open and config.stdin_once
    view: dict[str, Any] = {
        "Hostname": config.hostname or container.id[:12],
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "ExposedPorts": {port: {} for port in config.exposed},
        "Tty": config.tty,
        "OpenStdin": config.stdin_open,
        "StdinOnce": config.stdin_once,
        "Env": list(config.env),
        "Cmd": list(config.cmd) or None,
        "Image": image_name(config),
        "Volumes": {m.target: {} for m in config.mounts if m.own and not m.listed} or None,
        "WorkingDir": config.workdir,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": None,
        "Labels": config.labels,
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout,
    }
    if config.healthcheck.test:
        check = config.healthcheck
        view["Healthcheck"] = {
            "Test": list(check.test),
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
            "Retries": check.retries,
        }
    return view
