from __future__ import annotations

import json
from pathlib import Path

import pytest

from hawse.supervisor.core.capabilities import capabilities
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, MountSpec, State
from hawse.supervisor.runtime import etc_files, spec
from hawse.supervisor.shim.specs import DEFAULT_PATH, dump_spec, load_spec

PATHS = spec.Paths(state=Path("/s"), run=Path("/r"))


def container(**settings: object) -> Container:
    return Container(
        id=ContainerId("c" * 64),
        name="n",
        config=ContainerConfig(cmd=("true",), **settings),  # type: ignore[arg-type]
        state=State.CREATED,
        created_at=1,
        uid_base=100_000,
    )


def made(**settings: object) -> spec.ShimSpec:
    around = spec.Surroundings(
        paths=PATHS,
        provided=PATHS,
        lower=("/l",),
        volumes={"v": "/volumes/v"},
        cgroup_v2="",
        cgroup_v1=(),
        seccomp="/bpf",
        net="new",
    )
    return spec.shim_spec(container(**settings), around)


def test_a_spec_survives_its_file_and_ignores_what_a_newer_daemon_adds() -> None:
    text = dump_spec(made())
    assert load_spec(text) == made()
    raw = json.loads(text)
    raw["invented_later"] = 1
    assert load_spec(json.dumps(raw)) == made()


def test_defaults_are_dockers() -> None:
    process = made().process
    assert len(process.caps) == 14 and "CAP_SYS_ADMIN" not in process.caps
    assert process.env == [f"PATH={DEFAULT_PATH}", f"HOSTNAME={'c' * 12}"]
    assert process.no_new_privileges and process.seccomp == "/bpf"


def test_env_of_the_user_wins_and_a_bare_key_unsets() -> None:
    env = made(env=("A=1", "PATH=/x", "A=2", "HOSTNAME"), tty=True).process.env
    assert env == ["PATH=/x", "TERM=xterm", "A=2"]


@pytest.mark.parametrize(
    ("add", "drop", "inside", "outside"),
    [
        (("net_admin",), (), "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ((), ("CHOWN",), "CAP_KILL", "CAP_CHOWN"),
        (("CHOWN",), ("ALL",), "CAP_CHOWN", "CAP_KILL"),
        (("ALL",), ("SYS_ADMIN",), "CAP_BPF", "CAP_SYS_ADMIN"),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], inside: str, outside: str) -> None:
    caps = capabilities(ContainerConfig(cap_add=add, cap_drop=drop))
    assert inside in caps and outside not in caps


def test_an_unknown_capability_is_named() -> None:
    with pytest.raises(UserError, match='unknown capability: "CAP_FOO"'):
        capabilities(ContainerConfig(cap_add=("foo",)))


def test_mounts_are_shallow_first_and_volumes_become_directories() -> None:
    mounts = made(
        mounts=(
            MountSpec(type="bind", source="/h", target="/a/b"),
            MountSpec(type="volume", source="v", target="/a"),
            MountSpec(type="tmpfs", target="/t", options="size=1m"),
        )
    ).mounts
    assert [(m.type, m.source, m.target) for m in mounts[3:]] == [
        ("bind", "/volumes/v", "/a"),
        ("tmpfs", "", "/t"),
        ("bind", "/h", "/a/b"),
    ]
    assert [m.target for m in mounts[:3]] == ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]


def test_hosts_names_the_container_and_what_the_user_added() -> None:
    config = ContainerConfig(extra_hosts=("db:10.0.0.9", "gw:host-gateway"), domainname="lan")
    text = etc_files.hosts(config, "web", ["10.0.0.2"], "10.0.0.1")
    assert "10.0.0.9\tdb\n" in text and "10.0.0.1\tgw\n" in text and text.endswith("10.0.0.2\tweb.lan web\n")


def test_a_resolver_on_the_hosts_loopback_is_not_handed_on() -> None:
    host = "nameserver 127.0.0.53\nsearch corp.example\noptions edns0\n"
    text = etc_files.resolv_conf(ContainerConfig(), host, shares_host_network=False)
    assert text == "search corp.example\nnameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0\n"
    assert etc_files.resolv_conf(ContainerConfig(), host, shares_host_network=True) == host
    chosen = ContainerConfig(dns=("10.1.1.1",), dns_search=(".",))
    assert etc_files.resolv_conf(chosen, host, shares_host_network=False) == "nameserver 10.1.1.1\noptions edns0\n"
