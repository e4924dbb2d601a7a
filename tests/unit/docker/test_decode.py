"""Docker's create body → ContainerConfig: what clients send, what is refused and how it says so."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import MountSpec, PortBinding
from hawse.supervisor.docker import body
from hawse.supervisor.docker.decode import Decoded, container_config
from hawse.supervisor.docker.view_host import host_config


def decode(raw: dict[str, Any]) -> Decoded:
    return container_config(body.parse(json.dumps(raw).encode()))


def host(**fields: Any) -> dict[str, Any]:
    return {"Image": "busybox", "HostConfig": fields}


def test_what_the_docker_client_sends_for_a_full_run() -> None:
    config = decode(
        {
            "Hostname": "web",
            "User": "1000:1000",
            "AttachStdin": True,
            "AttachStdout": True,
            "Tty": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "Env": ["A=1", "B="],
            "Cmd": ["sh", "-c", "echo 'a b'"],
            "Image": "busybox",
            "Volumes": {"/data": {}},
            "WorkingDir": "/srv",
            "Entrypoint": None,
            "OnBuild": None,
            "Labels": {"k": "v"},
            "ExposedPorts": {"80/tcp": {}, "90-91/udp": {}},
            "HostConfig": {
                "Binds": ["/srv/www:/www:ro", "cache:/cache"],
                "PortBindings": {
                    "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": ""}]
                },
                "NetworkMode": "testbr",
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "AutoRemove": True,
                "Memory": 104857600,
                "MemorySwap": 0,
                "NanoCpus": 1500000000,
                "PidsLimit": 0,
                "Dns": [],
                "OomKillDisable": False,
                "LogConfig": {"Type": "", "Config": {}},
                "MemorySwappiness": -1,
                "ConsoleSize": [24, 80],
            },
            "NetworkingConfig": {
                "EndpointsConfig": {"testbr": {"IPAMConfig": {"IPv4Address": "10.10.10.9"}, "Aliases": ["w"]}}
            },
        }
    ).config
    assert (config.image, config.cmd, config.entrypoint) == ("busybox", ("sh", "-c", "echo 'a b'"), ())
    assert (config.tty, config.stdin_open, config.stdin_once, config.auto_remove) == (True, True, True, True)
    assert config.console == (24, 80) and decode(host(ConsoleSize=[0, 0])).config.console == ()
    assert (config.user, config.workdir, config.env, config.labels) == ("1000:1000", "/srv", ("A=1", "B="), {"k": "v"})
    assert config.ports == (
        PortBinding(container_port=80, host_ip=IPv4Address("127.0.0.1"), host_port=8080),
        PortBinding(container_port=80),
    )
    assert config.exposed == ("80/tcp", "90/udp", "91/udp")
    assert config.network_mode == "testbr"
    assert [(e.network, e.ip, e.aliases) for e in config.endpoints] == [("testbr", IPv4Address("10.10.10.9"), ("w",))]
    assert config.mounts == (
        MountSpec(type="bind", source="/srv/www", target="/www", read_only=True),
        MountSpec(type="volume", source="cache", target="/cache"),
        MountSpec(type="volume", target="/data"),
    )
    assert (config.resources.memory, config.resources.cpus, config.resources.pids_limit) == (100 << 20, 1.5, None)


def test_a_bare_image_gets_the_default_network_and_limits() -> None:
    config = decode({"Image": "busybox"}).config
    assert (config.network_mode, [e.network for e in config.endpoints]) == ("bridge", ["bridge"])
    assert (config.stop_timeout, config.shm_size, config.no_new_privileges) == (10, 64 << 20, True)


def test_a_directory_needs_no_image() -> None:
    config = decode({"Hawse": {"Rootfs": "/", "Userns": "host"}, "Cmd": ["true"]}).config
    assert (config.rootfs, config.image, config.userns) == ("/", "", "host")


def test_an_entrypoint_given_as_text_and_an_empty_one() -> None:
    assert decode({"Image": "i", "Entrypoint": "/bin/sh", "Cmd": "ls"}).config.argv == ("/bin/sh", "ls")
    assert decode({"Image": "i", "Entrypoint": [""]}).config.entrypoint == ("",)


@pytest.mark.parametrize("mode", ["none", "host"])
def test_no_endpoint_without_a_network_of_its_own(mode: str) -> None:
    raw = host(NetworkMode=mode)
    raw["NetworkingConfig"] = {"EndpointsConfig": {mode: {}}}
    config = decode(raw).config
    assert (config.network_mode, config.endpoints) == (mode, ())


def test_the_network_of_the_mode_comes_first() -> None:
    raw = host(NetworkMode="b")
    raw["NetworkingConfig"] = {"EndpointsConfig": {"a": {}, "b": {"Aliases": ["x"]}}}
    assert [e.network for e in decode(raw).config.endpoints] == ["b", "a"]


def test_the_older_quota_is_a_number_of_cpus() -> None:
    resources = decode(host(CpuPeriod=50_000, CpuQuota=25_000)).config.resources
    assert (resources.cpus, resources.cpu_quota, resources.cpu_period) == (None, 25_000, 50_000)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (host(PortBindings={"80/tcp": [{"HostPort": "80"}]}), "port publishing"),
        ({"Hostname": "web", **host()}, "hostname"),
        (host(Dns=["192.0.2.53"]), "dns"),
        (host(ExtraHosts=["far:192.0.2.9"]), "custom host-to-IP mapping"),
    ],
)
def test_who_has_another_s_files_has_no_say_in_them(asked: dict[str, Any], what: str) -> None:
    asked["HostConfig"]["NetworkMode"] = "container:web"
    with pytest.raises(UserError, match=f"conflicting options: {what} and the container type network mode"):
        decode(asked)


def test_tmpfs_and_mounts() -> None:
    config = decode(
        host(
            Tmpfs={"/run": "size=64m,mode=1777,ro,noexec", "/tmp": "exec,suid"},
            Mounts=[
                {"Type": "bind", "Source": "/a/../b", "Target": "/b", "BindOptions": {"Propagation": "rslave"}},
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o700}},
                {"Type": "volume", "Target": "/v"},
            ],
        )
    ).config
    assert set(config.mounts) == {
        MountSpec(type="tmpfs", target="/run", read_only=True, options="size=64m,mode=1777,noexec"),
        MountSpec(type="tmpfs", target="/tmp", options="exec,suid"),
        MountSpec(type="bind", source="/b", target="/b", options="rslave", listed=True),
        MountSpec(type="tmpfs", target="/t", options="size=1024,mode=700", listed=True),
        MountSpec(type="volume", target="/v", listed=True),
    }


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, ["Image", "--rootfs"]),
        ({"Image": 5}, ["Image", "5", "a string"]),
        ({"Image": "i", "Cmd": [1]}, ["Cmd[0]", "a string"]),
        ({"Image": "i", "Env": ["=x"]}, ["Env[0]", "NAME=value"]),
        ({"Image": "i", "WorkingDir": "srv"}, ["'srv'", "absolute"]),
        ({"Image": "i", "Hostname": "a b"}, ["Hostname", "a b"]),
        ({"Image": "i", "StopSignal": "SIGNOT!"}, ["invalid signal"]),
        ({"Image": "i", "Healthcheck": {"Test": ["RUN"]}}, ["Healthcheck.Test", "CMD-SHELL"]),
        ({"Image": "i", "HostConfig": []}, ["HostConfig", "an object"]),
        ({"Hawse": {"Rootfs": "srv"}}, ["Hawse.Rootfs", "absolute"]),
        (host(Memory="1g"), ["HostConfig.Memory", '"1g"', "an integer"]),
        (host(Memory=1 << 20), ["6MB"]),
        (host(MemorySwap=1 << 30), ["Memory limit"]),
        (host(CpusetCpus="a"), ["cpuset", "0,2-3"]),
        (host(NanoCpus=1, CpuQuota=1000), ["Nano CPUs"]),
        (host(Binds=["/a"], Tmpfs={"/a": ""}), ["Duplicate mount point: /a"]),
        (host(Binds=["a:b"]), ["'b'", "absolute"]),
        (host(Binds=["/a:/b:rx"]), ["invalid mode: rx"]),
        (host(Binds=["a/b:/c"]), ["a/b", "absolute path"]),
        (host(Binds=["/a:/x/.."]), ["destination can't be '/'"]),
        (host(Mounts=[{"Type": "npipe", "Target": "/x"}]), ["HostConfig.Mounts[0].Type", "npipe"]),
        (host(PortBindings={"0/tcp": []}), ["PortBindings.0/tcp", "65535"]),
        (host(PortBindings={"80/icmp": []}), ["80/icmp", "tcp, udp, sctp"]),
        (host(PortBindings={"80": [{"HostPort": "70000"}]}), ["HostPort", "70000"]),
        (host(PortBindings={"80": [{"HostIp": "fe80::1"}]}), ["HostIp", "IPv4"]),
        (host(ConsoleSize=[24]), ["HostConfig.ConsoleSize", "rows and columns"]),
        (host(CapAdd=["NET_EVERYTHING"]), ["CAP_NET_EVERYTHING"]),
        (host(RestartPolicy={"Name": "sometimes"}), ["sometimes", "unless-stopped"]),
        (host(RestartPolicy={"Name": "always"}, AutoRemove=True), ["AutoRemove"]),
        (host(SecurityOpt=["frobnicate"]), ["frobnicate", "known"]),
        (host(SecurityOpt=["seccomp"]), ["seccomp", "known"]),
        (host(SecurityOpt=["seccomp=/profile.json"]), ["/profile.json", "seccomp=unconfined"]),
        (host(SecurityOpt=["no-new-privileges=maybe"]), ["maybe", "true|false"]),
        (host(SecurityOpt=["apparmor"]), ["apparmor", "known"]),
        (host(SecurityOpt=["apparmor="]), ["apparmor=", "PROFILE"]),
        (host(SecurityOpt=["apparmor=a\nchangeprofile b"]), ["changeprofile", "PROFILE"]),
        (host(SecurityOpt=["apparmor=" + 300 * "a"]), ["aaa", "PROFILE"]),
        (host(SecurityOpt=["label=type:container_t"]), ["label=type:container_t", "label=disable"]),
        (host(SecurityOpt=["label:level:s0:c1"]), ["label:level", "SELinux"]),
        (host(SecurityOpt=["systempaths=unconfined"]), ["systempaths", "--privileged"]),
        (host(SecurityOpt=["writable-cgroups=true"]), ["writable-cgroups", "not supported"]),
        (host(SecurityOpt=["unmask=ALL"]), ["unmask", "not supported"]),
        (host(Sysctls={"kernel.core_pattern": "|/x"}), ["kernel.core_pattern", "not allowed"]),
        (host(Sysctls={"net/../kernel.x": "1"}), ["not allowed"]),
        (host(Sysctls={"net.ipv4.ip_forward": "1"}, NetworkMode="host"), ["host network namespace"]),
        (host(Ulimits=[{"Name": "nofil", "Soft": 1, "Hard": 1}]), ["nofil", "nofile"]),
        (host(Ulimits=[{"Name": "nofile", "Soft": 2, "Hard": 1}]), ["soft limit"]),
        (host(Devices=[{"PathOnHost": "fuse"}]), ["PathOnHost", "/dev/fuse"]),
        (host(ExtraHosts=["db"]), ["add-host", "NAME:ADDRESS"]),
        (host(Dns=["eight"]), ["eight"]),
        (host(PidMode="host"), ["HostConfig.PidMode", "pid namespace"]),
        (host(Links=["db:a:b"]), ["bad format for links", "db:a:b"]),
        (host(Links=["db"], NetworkMode="host"), ["links", "host type networking"]),
        (host(Links=["db"], NetworkMode="container:a"), ["links", "container type networking"]),
        (host(LogConfig={"Type": "bogus"}), ["logger: no log driver named 'bogus' is registered"]),
        ({"Image": "i", "Cmd": ["echo", "\udcff"]}, ["Cmd[1]", "UTF-8"]),
        (host(Binds=["v" * 256 + ":/v"]), ["invalid volume name", "256 characters", "255"]),
        (host(Runtime="kata"), ["kata"]),
        (host(UsernsMode="keep-id"), ["UsernsMode"]),
        (host(LogConfig={"Config": {"max-size": "0"}}), ["max-size", "10m"]),
        (host(NetworkMode="container:"), ["container:NAME"]),
        (host(NetworkMode="container:a", PortBindings={"80/tcp": None}), ["port publishing"]),
        (
            {
                "Image": "i",
                "NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.300"}}}},
            },
            ["NetworkingConfig.EndpointsConfig.n.IPAMConfig.IPv4Address", "10.0.0.300"],
        ),
        ({"Image": "i", "MacAddress": "01:00:00:00:00:00"}, ["MacAddress", "unicast"]),
    ],
    ids=lambda v: json.dumps(v)[:60] if isinstance(v, dict) else "",
)
def test_a_bad_value_is_named_with_its_remedy(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        decode(raw)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff\xfe", b'"x"', b"{" * 5000, b"[" * 100_000])
def test_a_body_that_is_not_an_object(text: bytes) -> None:
    with pytest.raises(UserError):
        container_config(body.parse(text))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"MemorySwappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"MemorySwappiness": -2}, "valid memory swappiness range is 0-100"),
        ({"CpusetMems": "a"}, "Invalid value a for cpuset mems"),
    ],
)
def test_limits_that_nobody_has(body: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        decode(host(**body))


def test_what_is_accepted_but_not_done_is_a_warning() -> None:
    decoded = decode(host(VolumeDriver="rexray", LogConfig={"Type": "syslog"}))
    assert any("VolumeDriver" in w for w in decoded.warnings)
    assert any("syslog" in w for w in decoded.warnings)


@pytest.mark.parametrize("colon", ["=", ":"])
def test_security_options_are_honoured_or_say_what_holds_anyway(colon: str) -> None:
    given = ["no-new-privileges", f"seccomp{colon}unconfined", f"apparmor{colon}my-profile", f"label{colon}disable"]
    decoded = decode(host(SecurityOpt=given))
    config = decoded.config
    assert (config.no_new_privileges, config.seccomp, config.apparmor) == (True, "unconfined", "my-profile")
    assert not decoded.warnings
    assert decode(host(SecurityOpt=["no-new-privileges=false", "apparmor=:ns:a//b"])).config.apparmor == ":ns:a//b"
    assert decode({"Image": "x"}).config.apparmor == ""


def test_what_privileged_overrules_is_a_warning() -> None:
    given = ["no-new-privileges:true", "seccomp=builtin", "apparmor=my-profile"]
    decoded = decode(host(Privileged=True, SecurityOpt=given))
    assert [w for w in decoded.warnings if "no-new-privileges:true" in w]
    assert [w for w in decoded.warnings if "seccomp=builtin" in w]
    assert len(decoded.warnings) == 2 and decoded.config.apparmor == "my-profile"


def test_block_io_and_devices() -> None:
    rate = [{"Path": "/dev/sda", "Rate": 1024}]
    weight = [{"Path": "/dev/sda", "Weight": 20}]
    given = host(
        BlkioWeight=500,
        BlkioWeightDevice=weight,
        BlkioDeviceReadBps=rate,
        DeviceCgroupRules=["c 189:* rwm"],
        Memory=8 << 20,
    )
    config = decode(given).config
    shown = host_config(config)
    assert (shown["BlkioWeight"], shown["BlkioWeightDevice"], shown["BlkioDeviceReadBps"]) == (500, weight, rate)
    assert shown["DeviceCgroupRules"] == ["c 189:* rwm"]
    assert shown["MemorySwap"] == 16 << 20, "what the kernel is given, as docker shows it"
    for wrong, words in (
        ({"BlkioWeight": 5}, "from 10 to 1000"),
        ({"BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 1001}]}, "from 10 to 1000"),
        ({"BlkioDeviceReadBps": [{"Path": "sda", "Rate": 1}]}, "a block device"),
        ({"DeviceCgroupRules": ["c 189 rwm"]}, "invalid device cgroup rule format"),
        ({"MemoryReservation": 64 << 20, "Memory": 32 << 20}, "less than memory reservation"),
    ):
        with pytest.raises(UserError, match=words):
            decode(host(**wrong))


def test_unknown_fields_are_ignored() -> None:
    assert decode({"Image": "i", "Frob": 1, "HostConfig": {"Nicate": [1]}}).config.image == "i"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TOP = """Image Hostname Domainname User Tty OpenStdin StdinOnce Env Cmd Entrypoint WorkingDir Labels StopSignal StopTimeout
ExposedPorts Volumes Healthcheck NetworkDisabled MacAddress NetworkingConfig Hawse""".split()
HOST = """Binds Mounts Tmpfs PortBindings PublishAllPorts NetworkMode AutoRemove RestartPolicy Memory MemorySwap NanoCpus
CpuPeriod CpuQuota CpuShares CpusetCpus PidsLimit CapAdd CapDrop Privileged UsernsMode SecurityOpt ReadonlyRootfs Init Ulimits
Sysctls ShmSize OomScoreAdj Devices GroupAdd ExtraHosts Dns DnsSearch LogConfig PidMode IpcMode DeviceRequests""".split()
INNER = "Name MaximumRetryCount Type Target Source Test Interval HostPort Soft Hard PathOnHost Config max-size 80/tcp".split()
NESTED = JSON | st.dictionaries(st.sampled_from(INNER), JSON, max_size=3)
LISTED = NESTED | st.lists(NESTED, max_size=2) | st.dictionaries(st.sampled_from(INNER), st.lists(NESTED, max_size=2))


@given(
    st.dictionaries(st.sampled_from(TOP), LISTED, max_size=6),
    st.dictionaries(st.sampled_from(HOST), LISTED, max_size=6) | JSON,
)
def test_arbitrary_json_gives_a_config_or_a_user_error(top: dict[str, Any], outer: Any) -> None:
    try:
        decoded = decode({"Image": "i", **top, "HostConfig": outer})
    except UserError as e:
        assert len(e.message) < 1000
    else:
        assert decoded.config.argv is not None


@given(st.binary(max_size=64) | st.text(max_size=64).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_give_a_body_or_a_user_error(data: bytes) -> None:
    try:
        container_config(body.parse(data))
    except UserError:
        pass


def test_fields_are_found_in_whatever_case_they_are_written() -> None:
    """As Go reads JSON, and so docker's clients may send it; keys of a map are somebody's names and stay as they are."""
    config = decode(
        {"IMAGE": "busybox", "labels": {"A": "1", "a": "2"}, "hostconfig": {"memory": 1 << 26, "Binds": []}}
    )
    assert config.config.labels == {"A": "1", "a": "2"} and config.config.resources.memory == 1 << 26
    both = decode({"Image": "busybox", "User": "1", "user": "2"})
    assert both.config.user == "1"


def test_bytes_that_are_no_text_are_named_where_they_stand() -> None:
    for raw in (b'{"Image": "i", "Cmd": ["a", "\xff"]}', b'{"Image": "i", "Cmd": ["a", "\\udcff"]}'):
        with pytest.raises(UserError, match=r"invalid Cmd\[1\]"):
            container_config(body.parse(raw))
    with pytest.raises(UserError, match="invalid JSON"):
        body.parse(b'{"Image": NaN, "Cmd": ["\\udcff"]}')


def test_links() -> None:
    on_bridge = decode(host(Links=["db", "/web:/parent/alias"])).config
    assert on_bridge.links == ("db:db", "web:alias")
    assert host_config(on_bridge, "box")["Links"] == ["/db:/box/db", "/web:/box/alias"]
    own = {"NetworkingConfig": {"EndpointsConfig": {"net": {"Links": ["a:b"]}}}}
    elsewhere = decode({**host(Links=["db:d"], NetworkMode="net"), **own}).config
    assert elsewhere.links == () and elsewhere.endpoints[0].links == ("a:b", "db:d")
    with pytest.raises(UserError, match="user-defined"):
        decode({"Image": "i", "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Links": ["a:b"]}}}})


def test_the_names_of_hosts_in_both_forms() -> None:
    config = decode(host(ExtraHosts=["a=10.0.0.1", "b:10.0.0.2", "c=[fd00::1]", "d:fd00::2", "e=host-gateway"])).config
    assert config.extra_hosts == ("a:10.0.0.1", "b:10.0.0.2", "c:fd00::1", "d:fd00::2", "e:host-gateway")


def test_inspect_shows_what_was_asked_for_where_it_was() -> None:
    given = {
        "Binds": ["named:/n"],
        "Mounts": [
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1024}},
            {"Type": "bind", "Source": "/srv", "Target": "/b", "ReadOnly": True},
        ],
        "Tmpfs": {"/run": "size=3M"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        "Isolation": "default",
        "Runtime": "runc",
        "VolumeDriver": "local",
        "ContainerIDFile": "/tmp/id",
    }
    view = host_config(decode(host(**given)).config)
    assert {field: view[field] for field in given} == given
    assert host_config(decode(host()).config)["LogConfig"] == {"Type": "json-file", "Config": {}}


def test_published_ports_are_discarded_with_the_host_s_network() -> None:
    ports = {"80/tcp": [{"HostPort": "80"}]}
    assert decode(host(NetworkMode="host", PortBindings=ports)).warnings == (
        "Published ports are discarded when using host network mode",
    )
    assert decode(host(NetworkMode="none", PortBindings=ports)).warnings == ()


def test_every_field_of_docker_s_host_config_is_shown() -> None:
    """Clients look them up by name and fail on one that is not there; docker itself leaves out some others."""
    fields = """
        AutoRemove Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight
        BlkioWeightDevice CapAdd CapDrop Cgroup CgroupParent CgroupnsMode ConsoleSize ContainerIDFile CpuCount CpuPercent
        CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems DeviceCgroupRules
        DeviceRequests Devices Dns DnsOptions DnsSearch ExtraHosts GroupAdd IOMaximumBandwidth IOMaximumIOps IpcMode
        Isolation Links LogConfig MaskedPaths Memory MemoryReservation MemorySwap MemorySwappiness NanoCpus NetworkMode
        OomKillDisable OomScoreAdj PidMode PidsLimit PortBindings Privileged PublishAllPorts ReadonlyPaths ReadonlyRootfs
        RestartPolicy Runtime SecurityOpt ShmSize UTSMode Ulimits UsernsMode VolumeDriver VolumesFrom
    """
    assert set(fields.split()) <= set(host_config(decode(host()).config))
