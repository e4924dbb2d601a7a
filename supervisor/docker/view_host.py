"""HostConfig as inspect shows it: the inverse of decode_*.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hawse.supervisor.core.model import ContainerConfig, DeviceLimit, MountSpec, PortBinding, Resources


def host_config(config: ContainerConfig) -> dict[str, Any]:
    return {
        "Binds": [_bind(m) for m in config.mounts if m.type != "tmpfs" and m.source] or None,
        "ContainerIDFile": "",
        "LogConfig": {
            "Type": config.log_driver,
            "Config": _log_options(config),
        },
        "NetworkMode": config.network_mode,
        "PortBindings": _port_bindings(config.ports),
        "RestartPolicy": {"Name": config.restart.name, "MaximumRetryCount": config.restart.max_retries},
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
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
        "Links": None,
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": "",
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": _security(config),
        "Tmpfs": {m.target: m.options for m in config.mounts if m.type == "tmpfs"},
        "UTSMode": "",
        "UsernsMode": config.userns,
        "ShmSize": config.shm_size,
        "Sysctls": config.sysctls,
        "Runtime": "hawse",
        "Isolation": "",
        "Devices": [
            {"PathOnHost": d.host_path, "PathInContainer": d.container_path, "CgroupPermissions": d.permissions}
            for d in config.devices
        ],
        "DeviceCgroupRules": list(config.device_rules) or None,
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in config.ulimits],
        "Init": config.init,
        **limits(config.resources),
    }


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


def _log_options(config: ContainerConfig) -> dict[str, str]:
    if config.log_driver == "none":
        return {}
    cache = "cache-" if config.log_driver == "journald" else ""
    size, files = str(config.log_max_size), str(config.log_max_files)
    return {f"{cache}max-size": size, f"{cache}max-file": files, **config.log_details}
