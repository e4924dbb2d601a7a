"""From a container's record to the ShimSpec its shim is given.  Pure: paths are composed, never touched.

Defaults follow docker's (moby daemon/pkg/oci, read 2026-08): masked and read-only paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hawse.supervisor.core.capabilities import capabilities
from hawse.supervisor.core.hidden import MASKED, READ_ONLY
from hawse.supervisor.core.logfields import journal_fields
from hawse.supervisor.core.model import ID_RANGE, Container, ContainerConfig
from hawse.supervisor.shim.specs import DEFAULT_PATH, MountSpec, ProcessSpec, RootfsSpec, ShimSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where one container's files are.  `state` is persistent, `run` is on tmpfs and gone after a reboot."""

    state: Path
    run: Path

    @property
    def log(self) -> Path:
        return self.state / "log"

    @property
    def upper(self) -> Path:
        return self.state / "upper"

    @property
    def work(self) -> Path:
        return self.state / "work"

    @property
    def target(self) -> Path:
        """The overlay's mount point, seen only in the container's own mount namespace."""
        return self.state / "root"

    @property
    def socket(self) -> Path:
        return self.run / "shim.sock"

    @property
    def spec(self) -> Path:
        return self.run / "spec.json"

    @property
    def hosts(self) -> Path:
        return self.state / "hosts"

    @property
    def hostname(self) -> Path:
        return self.state / "hostname"

    @property
    def resolv_conf(self) -> Path:
        return self.state / "resolv.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a spec needs beyond the record: found or made by the engine just before the start."""

    paths: Paths
    provided: Paths  # whose hosts, hostname and resolv.conf it is given: those of whose network it has
    lower: tuple[str, ...]  # top first
    volumes: dict[str, str]  # volume name → host directory
    cgroup_v2: str
    cgroup_v1: tuple[str, ...]
    seccomp: str
    net: str  # new, host, pid:N


def shim_spec(container: Container, around: Surroundings) -> ShimSpec:
    """The whole of what the shim is told.  Raises UserError for a capability nobody knows."""
    config, paths = container.config, around.paths
    hostname = config.hostname or container.id[:12]
    return ShimSpec(
        id=container.id,
        hostname=hostname,
        domainname=config.domainname,
        state_dir=str(paths.state),
        run_dir=str(paths.run),
        socket=str(paths.socket),
        log_path="" if config.log_driver == "none" else str(paths.log),
        log_max_size=config.log_max_size,
        log_max_files=config.log_max_files,
        journal_fields=journal_fields(container),
        rootfs=RootfsSpec(
            lower=list(around.lower),
            upper=str(paths.upper),
            work=str(paths.work),
            target=str(paths.target),
            read_only=config.read_only,
        ),
        process=process_spec(container, hostname, around.seccomp),
        mounts=[*_provided_files(around.provided), *_user_mounts(config, around.volumes)],
        uid_base=container.uid_base,
        uid_count=ID_RANGE,
        net=around.net,
        cgroup_v2=around.cgroup_v2,
        cgroup_v1=list(around.cgroup_v1),
        masked=[] if config.privileged else list(MASKED),
        read_only=[] if config.privileged else list(READ_ONLY),
        devices=[[d.host_path, d.container_path] for d in config.devices],
        sysctls=dict(config.sysctls),
        shm_size=config.shm_size,
        init=config.init,
        stdin_once=config.stdin_once,
        privileged=config.privileged,
        device_nodes=bool(config.device_rules),
    )


def process_spec(container: Container, hostname: str, seccomp: str) -> ProcessSpec:
    """The container's own program."""
    config = container.config
    return ProcessSpec(
        argv=list(config.argv),
        env=environment(config, hostname),
        cwd=config.workdir or "/",
        user=config.user,
        groups=list(config.group_add),
        tty=config.tty,
        console=list(config.console),
        stdin=config.stdin_open,
        caps=capabilities(config),
        no_new_privileges=config.no_new_privileges and not config.privileged,
        seccomp="" if config.privileged else seccomp,
        apparmor=apparmor_profile(container),
        rlimits={u.name: [u.soft, u.hard] for u in config.ulimits},
        oom_score_adj=config.oom_score_adj,
    )


def apparmor_profile(container: Container) -> str:
    """Return what its programs, an exec's as well, ask the kernel for; "" is to stay as unconfined as the daemon is."""
    return "" if container.apparmor == "unconfined" else container.apparmor


def environment(config: ContainerConfig, hostname: str, extra: tuple[str, ...] = ()) -> list[str]:
    """PATH, HOSTNAME and TERM as docker sets them, then the image's and the user's, the later winning."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.tty:
        merged["TERM"] = "xterm"
    for item in (*config.env, *extra):
        key, equals, value = item.partition("=")
        if equals:
            merged[key] = value
        else:
            merged.pop(key, None)
    return [f"{k}={v}" for k, v in merged.items()]


def _provided_files(paths: Paths) -> list[MountSpec]:
    return [
        MountSpec(type="bind", target=f"/etc/{source.name}", source=str(source), recursive=False)
        for source in (paths.hosts, paths.hostname, paths.resolv_conf)
    ]


def _user_mounts(config: ContainerConfig, volumes: dict[str, str]) -> list[MountSpec]:
    """Shallow targets first, so that /a is mounted before /a/b whatever order they were given in."""
    specs = []
    for mount in sorted(config.mounts, key=lambda m: m.target.rstrip("/").count("/")):
        if mount.type == "tmpfs":
            specs.append(MountSpec(type="tmpfs", target=mount.target, read_only=mount.read_only, data=mount.options))
        else:
            is_volume = mount.type == "volume"
            specs.append(
                MountSpec(
                    type="bind",
                    target=mount.target,
                    source=volumes[mount.source] if is_volume else mount.source,
                    read_only=mount.read_only,
                    propagation="" if is_volume else mount.options,
                )
            )
    return specs
