"""Docker's JSON from records: what clients read from it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.health import History
from hawse.supervisor.core.model import (
    Container,
    ContainerConfig,
    ContainerId,
    Endpoint,
    EndpointRequest,
    Exit,
    Image,
    ImageConfig,
    ImageId,
    MountSpec,
    Network,
    NetworkName,
    OwnHook,
    PortBinding,
    ProcessIdentity,
    State,
    Verb,
    Volume,
    Wish,
)
from hawse.supervisor.docker import body, text, view_container, view_image, view_network
from hawse.supervisor.docker.decode import container_config
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.view_container import Surroundings
from hawse.supervisor.docker.view_event import docker_events, matches

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
ID = ContainerId("ab" * 32)
NET = Network(
    id="cd" * 32,
    name=NetworkName("testbr"),
    driver="bridge",
    created_at=NOW,
    subnet=IPv4Network("10.10.10.0/24"),
    gateway=IPv4Address("10.10.10.1"),
    device="testbr",
)
CONFIG = ContainerConfig(
    image="busybox",
    image_id=ImageId("sha256:" + "ef" * 32),
    entrypoint=("sh",),
    cmd=("-c", "echo 'a b'"),
    env=("A=1",),
    labels={"k": "v"},
    network_mode="testbr",
    endpoints=(EndpointRequest(network=NET.name, ip=IPv4Address("10.10.10.5"), aliases=("web",)),),
    ports=(PortBinding(container_port=80, host_port=8080),),
    exposed=("80/tcp", "443/tcp"),
    hooks=(OwnHook(event="container.exited", command="logger gone"),),
    mounts=(
        MountSpec(type="bind", source="/srv", target="/www", read_only=True),
        MountSpec(type="volume", source="data", target="/data"),
        MountSpec(type="tmpfs", target="/t", options="size=1m"),
    ),
)
RUNNING = Container(
    id=ID,
    name="web",
    config=CONFIG,
    state=State.RUNNING,
    created_at=NOW - 60 * SECOND,
    started_at=NOW - 59 * SECOND,
    process=ProcessIdentity(pid=4242, start_time=1, boot_id="b"),
    stages={"total": 7000},
)
PLUGGED = Endpoint(
    container_id=ID,
    network=NET.name,
    address=IPv4Address("10.10.10.5"),
    prefix=24,
    mac="02:42:0a:0a:0a:05",
    gateway=NET.gateway,
    veth="h-1",
    ifname="eth0",
    ports=CONFIG.ports,
    connected_at=NOW,
)
AROUND = Surroundings(network_ids={"testbr": NET.id, "host": "11" * 32}, volumes="/var/lib/hawse/volumes")
EXITED = replace(
    RUNNING, state=State.EXITED, process=None, exit=Exit(code=137, signal=9, oom=True), finished_at=NOW - 5 * SECOND
)


def test_a_line_of_ps() -> None:
    line = view_container.summary(RUNNING, (PLUGGED,), AROUND, NOW)
    assert (line["Id"], line["Names"], line["Image"], line["State"]) == (ID, ["/web"], "busybox", "running")
    assert line["Command"] == "sh -c 'echo '\"'\"'a b'\"'\"''"
    assert line["Status"] == "Up 59 seconds"
    assert line["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 443, "Type": "tcp"},
    ]
    assert line["NetworkSettings"]["Networks"]["testbr"]["IPAddress"] == "10.10.10.5"


def test_inspect_of_a_running_container() -> None:
    view = view_container.inspect(RUNNING, (PLUGGED,), AROUND)
    assert view["State"]["Pid"] == 4242 and view["State"]["Running"] is True and view["State"]["Status"] == "running"
    settings = view["NetworkSettings"]
    assert settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}
    assert settings["SandboxKey"] == "/proc/4242/ns/net"
    joined = settings["Networks"]["testbr"]
    assert (joined["NetworkID"], joined["Gateway"], joined["IPPrefixLen"]) == (NET.id, "10.10.10.1", 24)
    assert joined["IPAMConfig"] == {"IPv4Address": "10.10.10.5"} and joined["Aliases"] == ["web"]
    assert (view["Path"], view["Args"]) == ("sh", ["-c", "echo 'a b'"])
    assert view["Hawse"]["Stages"] == {"total": 7000}
    assert {m["Destination"]: (m["Type"], m["Source"], m["RW"]) for m in view["Mounts"]} == {
        "/www": ("bind", "/srv", False),
        "/data": ("volume", "/var/lib/hawse/volumes/data", True),
    }


def test_inspect_after_the_end() -> None:
    view = view_container.inspect(EXITED, (), AROUND)
    state = view["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"], state["Pid"]) == ("exited", 137, True, 0)
    assert view["NetworkSettings"]["Ports"] == {}
    joined = view["NetworkSettings"]["Networks"]["testbr"]
    assert (joined["NetworkID"], joined["IPAddress"], joined["EndpointID"]) == (NET.id, "", "")


def test_an_exit_that_nobody_saw_is_not_a_success() -> None:
    unknown = replace(EXITED, exit=Exit(code=None, reason="its shim died"))
    state = view_container.state(unknown, History())
    assert (state["ExitCode"], state["Error"]) == (text.UNKNOWN_EXIT, "its shim died")


def test_the_default_network_is_repeated_at_the_top_for_older_clients() -> None:
    on_bridge = replace(PLUGGED, network=NetworkName("bridge"))
    config = replace(CONFIG, network_mode="bridge", endpoints=(EndpointRequest(network=NetworkName("bridge")),))
    settings = view_container.inspect(replace(RUNNING, config=config), (on_bridge,), AROUND)["NetworkSettings"]
    assert (settings["IPAddress"], settings["Gateway"], settings["MacAddress"]) == (
        "10.10.10.5",
        "10.10.10.1",
        "02:42:0a:0a:0a:05",
    )


def test_host_networking_names_the_host_network() -> None:
    config = replace(CONFIG, network_mode="host", endpoints=(), ports=())
    networks = view_container.inspect(replace(RUNNING, config=config), (), AROUND)["NetworkSettings"]["Networks"]
    assert list(networks) == ["host"] and networks["host"]["NetworkID"] == "11" * 32


def test_host_config_says_what_create_was_told() -> None:
    """Inspect, sent back as a create request, gives the same container: what compose and watchtower-like tools do."""
    view = view_container.inspect(RUNNING, (PLUGGED,), AROUND)
    again = {**view["Config"], "HostConfig": view["HostConfig"]}
    again["NetworkingConfig"] = {"EndpointsConfig": view["NetworkSettings"]["Networks"]}
    decoded = container_config(body.parse(json.dumps(again).encode())).config
    sent_back = replace(decoded, image_id=CONFIG.image_id, hostname="", mounts=(), endpoints=())
    assert sent_back == replace(CONFIG, mounts=(), endpoints=(), hooks=())
    assert view["Hawse"]["Hooks"] == [{"Event": "container.exited", "Command": "logger gone"}]
    assert set(decoded.mounts) == set(CONFIG.mounts)
    assert [(e.network, e.ip, e.aliases) for e in decoded.endpoints] == [
        ("testbr", IPv4Address("10.10.10.5"), ("web",))
    ]


@pytest.mark.parametrize(
    ("container", "status"),
    [
        (RUNNING, "Up 59 seconds"),
        (replace(RUNNING, state=State.PAUSED), "Up 59 seconds (Paused)"),
        (replace(RUNNING, health="healthy"), "Up 59 seconds (healthy)"),
        (replace(RUNNING, health="starting"), "Up 59 seconds (health: starting)"),
        (EXITED, "Exited (137) 5 seconds ago"),
        (replace(EXITED, state=State.RESTARTING), "Restarting (137) 5 seconds ago"),
        (replace(RUNNING, state=State.STARTING, started_at=0), "Created"),
        (replace(EXITED, state=State.STARTING), "Exited (137) 5 seconds ago"),
        (replace(EXITED, state=State.STARTING, restart_count=1), "Restarting (137) 5 seconds ago"),
        (replace(EXITED, state=State.REMOVING), "Removal In Progress"),
        (replace(EXITED, state=State.DEAD), "Dead"),
    ],
)
def test_status_in_docker_s_words(container: Container, status: str) -> None:
    assert text.status(container, NOW) == status


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"),
        (15 * 86400, "2 weeks"),
        (70 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_are_coarse(seconds: int, words: str) -> None:
    assert text.duration(seconds * SECOND) == words


def test_a_network_with_its_containers() -> None:
    view = view_network.network(NET, [PLUGGED], {ID: RUNNING})
    assert view["IPAM"]["Config"] == [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]
    assert view["Containers"][ID]["Name"] == "web" and view["Containers"][ID]["IPv4Address"] == "10.10.10.5/24"


def test_an_image() -> None:
    image = Image(
        id=ImageId("sha256:" + "1" * 64),
        created_at=NOW,
        layers=("sha256:a",),
        tags=("busybox:latest",),
        config=ImageConfig(cmd=("sh",), exposed=("80/tcp",)),
        history=("import", "commit"),
    )
    view = view_image.inspect(image)
    assert view["Config"]["Cmd"] == ["sh"] and view["ContainerConfig"] == view["Config"]
    assert view_image.summary(image)["RepoTags"] == ["busybox:latest"]
    assert [h["CreatedBy"] for h in view_image.history(image)] == ["commit", "import"]


def event(fact: facts.Fact) -> Event:
    return Event(epoch="e", seq=1, time=NOW + 5, fact=fact)


def told(fact: facts.Fact) -> list[dict[str, Any]]:
    return docker_events(event(fact), {"testbr": NET.id})


def test_a_death_in_docker_s_events() -> None:
    view, unmount = told(facts.ContainerExited(container=EXITED, exit=Exit(code=137), ran_ns=54 * SECOND))
    assert unmount["Actor"] == {"ID": "data", "Attributes": {"container": ID, "driver": "local"}}
    assert (view["Type"], view["Action"], view["Actor"]["ID"]) == ("container", "die", ID)
    assert view["Actor"]["Attributes"] == {
        "k": "v",
        "exitCode": "137",
        "execDuration": "54",
        "image": "busybox",
        "name": "web",
    }
    assert (view["status"], view["id"], view["from"]) == ("die", ID, "busybox")
    assert (view["time"], view["timeNano"], view["scope"]) == (NOW // SECOND, NOW + 5, "local")


@pytest.mark.parametrize(
    ("fact", "actions"),
    [
        (facts.ContainerCreated(container=RUNNING), ["create"]),
        (facts.ContainerStarted(container=RUNNING), ["mount", "start"]),
        (facts.ContainerStarted(container=RUNNING, restarted=True), ["mount", "start", "restart"]),
        (facts.ContainerExited(container=EXITED, exit=Exit(code=0)), ["die", "unmount"]),
        (
            facts.ContainerExited(container=replace(EXITED, wish=Wish(verb=Verb.KILL)), exit=Exit(code=0)),
            ["die", "unmount"],
        ),
        (
            facts.ContainerExited(container=replace(EXITED, wish=Wish(verb=Verb.STOP)), exit=Exit(code=0)),
            ["die", "unmount", "stop"],
        ),
        (facts.ContainerOom(container=RUNNING), ["oom"]),
        (facts.ContainerPaused(container=RUNNING), ["pause"]),
        (facts.ContainerResumed(container=RUNNING), ["unpause"]),
        (facts.ContainerRemoved(container=RUNNING), ["destroy"]),
        (facts.ContainerUpdated(container=RUNNING), ["update"]),
        (facts.ContainerRenamed(container=RUNNING, old_name="old"), ["rename"]),
        (facts.ContainerKilled(container=RUNNING, signal=15), ["kill"]),
        (facts.ContainerCommitted(container=RUNNING, image_id="i"), ["commit"]),
        (facts.ContainerHealthChanged(container=RUNNING, status="healthy"), ["health_status: healthy"]),
        (
            facts.ExecStarted(container=RUNNING, exec_id="x", argv=("ls", "-l")),
            ["exec_create: ls -l", "exec_start: ls -l"],
        ),
        (facts.ExecEnded(container=RUNNING, exec_id="x", code=0), ["exec_die"]),
        (facts.NetworkCreated(network=NET), ["create"]),
        (facts.NetworkRemoved(network=NET), ["destroy"]),
        (facts.NetworkConnected(container=RUNNING, endpoint=PLUGGED), ["connect"]),
        (facts.NetworkDisconnected(container=RUNNING, endpoint=PLUGGED), ["disconnect"]),
        (facts.VolumeCreated(volume=Volume(name="v", created_at=NOW)), ["create"]),
        (facts.ContainerStartFailed(container=RUNNING, stage="exec"), []),
        (facts.DaemonStarted(version="1", pid=1), []),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, list) else "",
)
def test_each_fact_in_docker_s_words(fact: facts.Fact, actions: list[str]) -> None:
    assert [v["Action"] for v in told(fact)] == actions


def test_a_cable_is_an_event_of_its_network() -> None:
    (view,) = told(facts.NetworkConnected(container=RUNNING, endpoint=PLUGGED))
    assert view["Actor"] == {"ID": NET.id, "Attributes": {"container": ID, "name": "testbr", "type": "bridge"}}
    assert "status" not in view


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        ({}, {"die", "unmount", "connect", "tag", "exec_create: ls"}),
        ({"type": ("container",)}, {"die", "exec_create: ls"}),
        ({"event": ("die", "connect")}, {"die", "connect"}),
        ({"event": ("exec_create",)}, {"exec_create: ls"}),
        ({"container": ("web",)}, {"die", "exec_create: ls"}),
        ({"container": (ID[:12],)}, {"die", "connect", "exec_create: ls"}),
        ({"network": ("testbr",)}, {"connect"}),
        ({"image": ("busybox",)}, {"die", "tag", "exec_create: ls"}),
        ({"label": ("k=v",)}, {"die", "exec_create: ls"}),
        ({"label": ("k=w",)}, set()),
        ({"daemon": ("x",)}, set()),
        ({"type": ("container",), "event": ("connect",)}, set()),
    ],
)
def test_event_filters(filters: dict[str, tuple[str, ...]], matched: set[str]) -> None:
    image = Image(id=ImageId("sha256:" + "1" * 64), created_at=1, layers=(), tags=("busybox:latest",))
    views = [
        *told(facts.ContainerExited(container=EXITED, exit=Exit(code=0))),
        *told(facts.NetworkConnected(container=RUNNING, endpoint=PLUGGED)),
        *told(facts.ImageTagged(image=image, tag="busybox:latest")),
        told(facts.ExecStarted(container=RUNNING, exec_id="x", argv=("ls",)))[0],
    ]
    assert {v["Action"] for v in views if matches(v, Filters(filters))} == matched


def test_mount_points_are_those_that_docker_counts() -> None:
    """What --tmpfs makes is none, and Config.Volumes has those without a name only."""
    mounts = (
        MountSpec(type="volume", source="named", target="/n"),
        MountSpec(type="volume", source="f" * 64, target="/a", own=True),
        MountSpec(type="tmpfs", target="/plain"),
        MountSpec(type="tmpfs", target="/listed", listed=True),
    )
    box = replace(RUNNING, config=replace(CONFIG, mounts=mounts))
    view = view_container.inspect(box, (), AROUND)
    assert [m["Destination"] for m in view["Mounts"]] == ["/n", "/a", "/listed"]
    assert [m["Destination"] for m in view_container.summary(box, (), AROUND, NOW)["Mounts"]] == ["/n", "/a", "/listed"]
    assert view["Config"]["Volumes"] == {"/a": {}} and view["HostConfig"]["Binds"] == ["named:/n"]
    assert view["HostConfig"]["Tmpfs"] == {"/plain": ""}
    assert view["HostConfig"]["Mounts"] == [{"Type": "tmpfs", "Target": "/listed"}]
