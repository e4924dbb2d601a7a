"""Nothing is accepted and ignored: every field that Docker's API 1.47 has in a request is honoured, refused or warned of.

The tables are those of Docker's documented bodies, each field with a value that asks for something.  What is left out by
name has its reason beside it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from hawse.supervisor.api.endpoints import exec_, networks, volumes
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig, EndpointRequest
from hawse.supervisor.docker import decode_host
from hawse.supervisor.docker.body import Body, parse
from hawse.supervisor.docker.decode import container_config, settings

DEVICE = {"Path": "/dev/sda", "Rate": 1}
RESOURCES: dict[str, Any] = {
    "BlkioDeviceReadBps": [DEVICE],
    "BlkioDeviceReadIOps": [DEVICE],
    "BlkioDeviceWriteBps": [DEVICE],
    "BlkioDeviceWriteIOps": [DEVICE],
    "BlkioWeight": 300,
    "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 300}],
    "CgroupParent": "/other",
    "CpuCount": 1,
    "CpuPercent": 50,
    "CpuPeriod": 50_000,
    "CpuQuota": 50_000,
    "CpuRealtimePeriod": 1000,
    "CpuRealtimeRuntime": 500,
    "CpuShares": 512,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "DeviceCgroupRules": ["c 13:* rwm"],
    "DeviceRequests": [{"Driver": "nvidia", "Count": -1}],
    "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
    "IOMaximumBandwidth": 1000,
    "IOMaximumIOps": 1000,
    "KernelMemory": 1 << 30,
    "KernelMemoryTCP": 1 << 30,
    "Memory": 1 << 26,
    "MemoryReservation": 1 << 25,
    "MemorySwap": -1,
    "MemorySwappiness": 40,
    "NanoCpus": 500_000_000,
    "OomKillDisable": True,
    "PidsLimit": 10,
    "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
}
HOST: dict[str, Any] = {
    **RESOURCES,
    "Annotations": {"a": "b"},
    "AutoRemove": True,
    "Binds": ["/srv:/srv"],
    "CapAdd": ["NET_ADMIN"],
    "CapDrop": ["CHOWN"],
    "Cgroup": "other",
    "CgroupnsMode": "host",
    "ConsoleSize": [24, 80],
    "ContainerIDFile": "/tmp/id",
    "Dns": ["9.9.9.9"],
    "DnsOptions": ["ndots:2"],
    "DnsSearch": ["example.org"],
    "ExtraHosts": ["a:10.0.0.1"],
    "GroupAdd": ["5"],
    "Init": True,
    "IpcMode": "none",
    "Isolation": "hyperv",
    "Links": ["db:alias"],
    "LogConfig": {"Type": "none"},
    "MaskedPaths": [],
    "Mounts": [{"Type": "tmpfs", "Target": "/t"}],
    "NetworkMode": "host",
    "OomScoreAdj": 5,
    "PidMode": "host",
    "PortBindings": {"80/tcp": []},
    "Privileged": True,
    "PublishAllPorts": True,
    "ReadonlyPaths": [],
    "ReadonlyRootfs": True,
    "RestartPolicy": {"Name": "always"},
    "Runtime": "kata",
    "SecurityOpt": ["seccomp=unconfined"],
    "ShmSize": 1 << 20,
    "StorageOpt": {"size": "1G"},
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "Tmpfs": {"/t": ""},
    "UTSMode": "host",
    "UsernsMode": "host",
    "VolumeDriver": "other",
    "VolumesFrom": ["other"],
}
CONFIG: dict[str, Any] = {
    "Cmd": ["true"],
    "Domainname": "example.org",
    "Entrypoint": ["sh"],
    "Env": ["A=b"],
    "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Hostname": "h",
    "Image": "other",
    "Labels": {"a": "b"},
    "MacAddress": "02:42:0a:00:00:05",
    "NetworkDisabled": True,
    "OnBuild": ["RUN true"],
    "OpenStdin": True,
    "Shell": ["/bin/bash"],
    "StopSignal": "SIGINT",
    "StopTimeout": 3,
    "Tty": True,
    "User": "1",
    "Volumes": {"/v": {}},
    "WorkingDir": "/w",
}
MOUNT: dict[str, Any] = {
    "BindOptions.NonRecursive": True,
    "BindOptions.Propagation": "rslave",
    "BindOptions.ReadOnlyNonRecursive": True,
    "ReadOnly": True,
    "TmpfsOptions.Mode": 0o700,
    "TmpfsOptions.Options": [["exec"]],
    "TmpfsOptions.SizeBytes": 1024,
    "VolumeOptions.DriverConfig": {"Name": "other"},
    "VolumeOptions.Labels": {"a": "b"},
    "VolumeOptions.NoCopy": True,
    "VolumeOptions.Subpath": "part",
}
ENDPOINT: dict[str, Any] = {
    "Aliases": ["a"],
    "DriverOpts": {"a": "b"},
    "GwPriority": 1,
    "IPAMConfig": {"IPv4Address": "10.0.0.5"},
    "IPAMConfig.IPv6Address": "fd00::5",
    "IPAMConfig.LinkLocalIPs": ["169.254.1.1"],
    "Links": ["db:alias"],
    "MacAddress": "02:42:0a:00:00:05",
}
EXEC: dict[str, Any] = {
    "AttachStderr": True,
    "AttachStdin": True,
    "AttachStdout": True,
    "Cmd": ["false"],
    "ConsoleSize": [24, 80],
    "Env": ["A=b"],
    "Privileged": True,
    "Tty": True,
    "User": "1",
    "WorkingDir": "/w",
}
NETWORK: dict[str, Any] = {
    "Attachable": True,
    "ConfigFrom": {"Network": "other"},
    "ConfigOnly": True,
    "Driver": "macvlan",
    "EnableIPv4": False,
    "EnableIPv6": True,
    "IPAM.Config": [{"Subnet": "10.9.0.0/24"}],
    "IPAM.Driver": "dhcp",
    "IPAM.Options": {"a": "b"},
    "Ingress": True,
    "Internal": True,
    "Labels": {"a": "b"},
    "Name": "other",
    "Options": {"a": "b"},
    "Scope": "swarm",
}
POOL: dict[str, Any] = {
    "AuxiliaryAddresses": {"router": "10.9.0.2"},
    "Gateway": "10.9.0.3",
    "IPRange": "10.9.0.128/25",
    "Subnet": "10.9.1.0/24",
}
VOLUME: dict[str, Any] = {
    "ClusterVolumeSpec": {"Group": "a"},
    "Driver": "other",
    "DriverOpts": {"type": "nfs"},
    "Labels": {"a": "b"},
    "Name": "other",
}


def body(raw: dict[str, Any]) -> Body:
    return parse(json.dumps(raw).encode())


def nested(field: str, value: Any) -> dict[str, Any]:
    for name in reversed(field.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def created(raw: dict[str, Any]) -> tuple[ContainerConfig, tuple[str, ...]]:
    decoded = container_config(body({"Image": "busybox", **raw}))
    return decoded.config, decoded.warnings


def check_create(field: str, raw: dict[str, Any], without: dict[str, Any]) -> None:
    """`without` is the same request that does not ask for it."""
    plain, known = created(without)
    try:
        config, warnings = created(raw)
    except UserError:
        return
    new = [warning for warning in warnings if warning not in known]
    assert config != plain or any(field.rpartition(".")[2] in warning for warning in new), f"{field} is ignored"


@pytest.mark.parametrize("field", HOST)
def test_a_container_s_host_config(field: str) -> None:
    check_create(field, {"HostConfig": {field: HOST[field]}}, {})


@pytest.mark.parametrize("field", CONFIG)
def test_a_container_s_config(field: str) -> None:
    """AttachStdin, AttachStdout and AttachStderr are left out: clients keep notes to themselves there."""
    check_create(field, {field: CONFIG[field]}, {})


@pytest.mark.parametrize("field", MOUNT)
def test_a_mount(field: str) -> None:
    """Left out: Consistency means nothing on Linux, ReadOnlyForceRecursive is so anyway, and CreateMountpoint asks for what
    is refused by name at the create when it is needed."""
    kind = next((kind for kind in ("volume", "tmpfs") if field.lower().startswith(kind)), "bind")
    mount = {"Type": kind, "Target": "/t", **({"Source": "/srv"} if kind == "bind" else {})}
    check_create(
        field,
        {"HostConfig": {"Mounts": [{**mount, **nested(field, MOUNT[field])}]}},
        {"HostConfig": {"Mounts": [mount]}},
    )


@pytest.mark.parametrize("field", ENDPOINT)
def test_an_endpoint(field: str) -> None:
    """Of a create, and of a connect, whose answer has no room for warnings: there it has to be in the record."""
    asked = nested(field, ENDPOINT[field])
    endpoints = {"HostConfig": {"NetworkMode": "net"}, "NetworkingConfig": {"EndpointsConfig": {"net": asked}}}
    check_create(field, endpoints, {"HostConfig": {"NetworkMode": "net"}})
    try:
        request = settings("net", body(asked))
    except UserError:
        return
    assert request != EndpointRequest(network=request.network)


@pytest.mark.parametrize("field", RESOURCES)
def test_an_update(field: str) -> None:
    before = ContainerConfig()
    try:
        after = decode_host.update(before, body({field: RESOURCES[field]}))
    except UserError:
        return
    warnings = decode_host.not_updated(body({field: RESOURCES[field]}))
    assert after != before or any(field in warning for warning in warnings), f"{field} is ignored"
    assert decode_host.not_updated(body({"RestartPolicy": {"Name": "no"}, "Memory": 5, "CpuCount": 0})) == []


@pytest.mark.parametrize("field", EXEC)
def test_an_exec(field: str) -> None:
    plain = exec_.decode(body({"Cmd": ["true"]}))
    assert exec_.decode(body({"Cmd": ["true"], field: EXEC[field]})) != plain
    assert exec_.decode(body({"Cmd": ["true"], "Tty": True, "DetachKeys": "ctrl-x"})).detach_keys == "ctrl-x"


@pytest.mark.parametrize("field", NETWORK)
def test_a_network(field: str) -> None:
    """CheckDuplicate is left out: names are always checked."""
    check_network(field, nested(field, NETWORK[field]), {})


@pytest.mark.parametrize("field", POOL)
def test_a_network_s_addresses(field: str) -> None:
    pool = {"Subnet": "10.9.0.0/24"}
    check_network(field, {"IPAM": {"Config": [{**pool, field: POOL[field]}]}}, {"IPAM": {"Config": [pool]}})


def check_network(field: str, raw: dict[str, Any], without: dict[str, Any]) -> None:
    plain = networks.decode(body({"Name": "net", **without}))
    try:
        asked = networks.decode(body({"Name": "net", **raw}))
    except UserError:
        return
    assert asked.settings != plain.settings or field in asked.warning, f"{field} is ignored"


@pytest.mark.parametrize("field", VOLUME)
def test_a_volume(field: str) -> None:
    try:
        asked = volumes.decode(body({"Name": "vol", field: VOLUME[field]}))
    except UserError:
        return
    assert asked != volumes.decode(body({"Name": "vol"}))
