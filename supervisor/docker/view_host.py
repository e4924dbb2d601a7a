"""HostConfig as inspect shows it: the inverse of decode_*.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hawse.supervisor.core.hidden import MASKED, READ_ONLY
from hawse.supervisor.core.model import ContainerConfig, DeviceLimit, MountSpec, PortBinding, Resources


def host_config(config: ContainerConfig, name: str = "") -> dict[str, Any]:
    """`name` is the container's, which docker has in its links."""
    view = {
        "Binds": [_bind(m) for m in config.mounts if m.type != "tmpfs" and not (m.own or m.listed)] or None,
        "ContainerIDFile": config.shown.get("ContainerIDFile", ""),
        "LogConfig": {
            "Type": config.log_driver,
            "Config": config.log_options,
        },
        "NetworkMode": config.network_mode,
        "PortBindings": _port_bindings(config.ports),
        "RestartPolicy": {"Name": config.restart.name, "MaximumRetryCount": config.restart.max_retries},
        "AutoRemove": config.auto_remove,
        "VolumeDriver": config.shown.get("VolumeDriver", ""),
        "VolumesFrom": None,
        "ConsoleSize": list(config.console) or [0, 0],
        "CapAdd": list(config.cap_add) or None,
        "CapDrop": list(config.cap_drop) or None,
        "CgroupnsMode": "private",
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": list(config.extra_hosts) or None,
        "GroupAdd": list(config.group_add) or None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": [_link(link, name) for link in config.links] or None,
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": "",
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": _security(config),
        "Tmpfs": {m.target: _tmpfs(m) for m in config.mounts if m.type == "tmpfs" and not m.listed},
        "UTSMode": "",
        "UsernsMode": config.userns,
        "ShmSize": config.shm_size,
        "Sysctls": config.sysctls,
        "Runtime": config.shown.get("Runtime", "hawse"),
        "Isolation": config.shown.get("Isolation", ""),
        "Devices": [
            {"PathOnHost": d.host_path, "PathInContainer": d.container_path, "CgroupPermissions": d.permissions}
            for d in config.devices
        ],
        "DeviceCgroupRules": list(config.device_rules) or None,
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits],
        "Init": config.init,
        "MaskedPaths": None if config.privileged else list(MASKED),
        "ReadonlyPaths": None if config.privileged else list(READ_ONLY),
        "CgroupParent": "",
        "DeviceRequests": None,
        **dict.fromkeys(_NEVER, 0),
        **limits(config.resources),
    }
    if listed := [_mount(m) for m in config.mounts if m.listed]:
        view["Mounts"] = listed
    return view


_NEVER = ("CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth")
"""Limits that hawse has not; clients look for the fields all the same."""


def limits(resources: Resources) -> dict[str, Any]:
    """The limits, with Docker's 0 for none."""
    return {
        "Memory": resources.memory or 0,
        "MemorySwap": resources.memory_swap or 2 * (resources.memory or 0),
        "MemoryReservation": resources.memory_reservation or 0,
        "NanoCpus": round((resources.cpus or 0) * 10**9),
        "CpuShares": resources.cpu_shares or 0,
        "CpuPeriod": resources.cpu_period or 0,
        "CpuQuota": resources.cpu_quota or 0,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids_limit,
        "BlkioWeight": resources.blkio_weight or 0,
        "BlkioWeightDevice": [{"Path": d.path, "Weight": d.value} for d in resources.blkio_weight_devices],
        "BlkioDeviceReadBps": _rates(resources.read_bps),
        "BlkioDeviceWriteBps": _rates(resources.write_bps),
        "BlkioDeviceReadIOps": _rates(resources.read_iops),
        "BlkioDeviceWriteIOps": _rates(resources.write_iops),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
    }


def _rates(devices: Iterable[DeviceLimit]) -> list[dict[str, Any]]:
    return [{"Path": d.path, "Rate": d.value} for d in devices]


def _bind(mount: MountSpec) -> str:
    words = (mount.options, "ro" if mount.read_only else "", "nocopy" if mount.nocopy else "")
    options = [word for word in words if word]
    return ":".join([mount.source, mount.target, *([",".join(options)] if options else [])])


def _port_bindings(bindings: Iterable[PortBinding]) -> dict[str, list[dict[str, str]]]:
    view: dict[str, list[dict[str, str]]] = {}
    for b in bindings:
        place = {"HostIp": str(b.host_ip or ""), "HostPort": _host_ports(b)}
        view.setdefault(f"{b.container_port}/{b.proto}", []).append(place)
    return view


def _security(config: ContainerConfig) -> list[str] | None:
    options = [] if config.no_new_privileges else ["no-new-privileges=false"]
    if config.seccomp != "default":
        options.append(f"seccomp={config.seccomp}")
    if config.apparmor:
        options.append(f"apparmor={config.apparmor}")
    return options or None


def _host_ports(binding: PortBinding) -> str:
    if not binding.host_port:
        return ""
    return f"{binding.host_port}-{binding.host_port_last}" if binding.host_port_last else str(binding.host_port)


def _link(link: str, parent: str) -> str:
    name, _, alias = link.partition(":")
    return f"/{name}:/{parent}/{alias}"


def _tmpfs(mount: MountSpec) -> str:
    return ",".join(filter(None, ("ro" if mount.read_only else "", mount.options)))


def _mount(mount: MountSpec) -> dict[str, Any]:
    """Show it as HostConfig.Mounts had it."""
    view: dict[str, Any] = {"Type": mount.type, "Target": mount.target}
    if mount.source and not mount.own:
        view["Source"] = mount.source
    if mount.read_only:
        view["ReadOnly"] = True
    if mount.type == "bind" and mount.options:
        view["BindOptions"] = {"Propagation": mount.options}
    if mount.type == "volume" and (mount.nocopy or mount.labels):
        labels = dict(label.split("=", 1) for label in mount.labels)
        view["VolumeOptions"] = {"NoCopy": mount.nocopy, "Labels": labels}
    if mount.type == "tmpfs" and mount.options:
        words = dict(word.split("=", 1) for word in mount.options.split(","))
        size, mode = int(words.get("size", 0)), int(words.get("mode", "0"), 8)
        view["TmpfsOptions"] = {key: value for key, value in (("SizeBytes", size), ("Mode", mode)) if value}
    return view
