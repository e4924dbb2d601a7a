"""A start's dress rehearsal: whether this machine can run containers, found by starting one up to the exec of its program.

The same code as any start's, in a state directory, a cgroup and namespaces of its own, which are gone afterwards; so is all
of it, by itself, when the daemon is killed meanwhile.  No record is made and no event told.  The network is laid inside of
the new namespace, where nobody sees it.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import structlog

from hawse.supervisor import faults
from hawse.supervisor.core.errors import HawseError, KernelError, StartError
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, Resources, State
from hawse.supervisor.lifecycle import confining
from hawse.supervisor.lifecycle.remedies import remedy
from hawse.supervisor.linux import cgroup_devices, features, process, threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.features import Feature
from hawse.supervisor.linux.tree import remove_tree
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.runtime.spec import Paths, Surroundings, shim_spec

NAME = "trial"  # of its directories and cgroups
DEADLINE = 30.0  # seconds; it takes some 20 ms
CURRENT = 60.0  # seconds that what was found counts as news
REMEMBERED = 0.2  # seconds in which the kernel has told how a process ended, where it tells at all
LIMITS = {
    "memory": Resources(memory=64 << 20),
    "cpu": Resources(cpus=0.5),
    "cpuset": Resources(cpuset_cpus=str(min(os.sched_getaffinity(0)))),
    "pids": Resources(pids_limit=100),
}
STAGES = {
    "cgroup": "cgroup",
    "namespaces": "namespaces and user ids",
    "mounts": "root and mounts",
    "exec": "seccomp and capabilities",
    "network": "bridge and cable",
}
"""In the order in which a start goes through them; a StartError names them so."""

log = structlog.get_logger()


@dataclass(slots=True)
class Trial:
    """How one start went."""

    stage: str = ""  # "" is all well
    message: str = ""
    microseconds: int = 0
    unlimited: dict[str, str] = field(default_factory=dict)  # controller → why it could not be limited


class Rehearsal:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = anyio.Lock()
        self._found: list[Feature] = []
        self._found_at = 0.0
        self._tells_exit: bool | None = None  # the running kernel's, once it is known: finding it out takes a wait

    async def first(self) -> None:
        """Beside a daemon that begins to serve: the log says what will not work before anybody meets it."""
        if not faults.is_armed():
            for feature in await self.run():
                if not feature.found and feature.needed:
                    log.error("cannot_run_containers", step=feature.name, why=feature.detail, remedy=feature.remedy)

    async def features(self) -> list[Feature]:
        """Return it as it was found in the last minute; programs ask often, and the machine changes seldom."""
        return self._found if self._found and time.monotonic() - self._found_at < CURRENT else await self.run()

    async def run(self) -> list[Feature]:
        """Find it all out anew.  One at a time."""
        async with self._lock:
            trial = await self._start(self._parts.config.subid_base)
            found = [*_stages(trial)]
            if trial.stage in ("namespaces", "mounts"):
                found.append(_without_ids(await self._start(None)))
            found += [*await self._rules(), features.forwarding(), features.connection_tracking()]
            found += [features.bridged_packets(), features.state_directory(self._parts.config.root)]
            if (apparmor := features.confinement(confining.DEFAULT)) is not None:
                found.append(apparmor)
            if not trial.stage:
                found += [_limits(trial, v2=self._parts.cgroups.v2 is not None), _exit(bool(self._tells_exit))]
            self._found, self._found_at = found, time.monotonic()
            return found

    async def _start(self, uid_base: int | None) -> Trial:
        trial, begun = Trial(), time.perf_counter_ns()
        try:
            with anyio.fail_after(DEADLINE):
                async with self._launched(uid_base) as (shim, cgroup):
                    await shim.wait_ready()
                    trial.microseconds = (time.perf_counter_ns() - begun) // 1000
                    trial.unlimited = _unlimited(cgroup)
                    if shim.netlink is not None:
                        await self._cable(shim)
                    pidfd = os.dup(shim.pidfd)
                try:
                    if self._tells_exit is None:
                        self._tells_exit = await _tells_exit(pidfd)
                finally:
                    os.close(pidfd)
        except StartError as e:
            trial.stage, trial.message = e.stage if e.stage in STAGES else "namespaces", e.message
        except (HawseError, OSError) as e:
            trial.stage, trial.message = "cgroup", features.why(e)
        except TimeoutError:
            trial.stage, trial.message = "namespaces", f"not done after {DEADLINE:g} s"
        return trial

    async def _cable(self, shim: Shim) -> None:
        assert shim.netlink is not None
        try:
            await self._parts.network.rehearse_cable(shim.netlink, shim.pid)
        except KernelError as e:
            raise StartError(e.message, stage="network") from e

    @asynccontextmanager
    async def _launched(self, uid_base: int | None) -> AsyncIterator[tuple[Shim, Cgroup]]:
        """Init has been asked for; afterwards nothing is left.  Raises StartError, KernelError, OSError."""
        parts, name = self._parts, NAME
        paths = Paths(state=parts.config.root / name, run=parts.config.run_dir / name)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(_remove, paths)
            await Cgroup.open(parts.cgroups, name).clear()  # of a daemon that was killed in the midst of this
            await _remove(paths)
            config = _write_root(paths)
            parts.images.prepare(paths, uid_base)
            cgroup = Cgroup.create(parts.cgroups, name, Resources(), cgroup_devices.rules(config))
            undo.push_async_callback(cgroup.clear)
            container = Container(
                id=ContainerId(name),
                name=name,
                config=config,
                state=State.STARTING,
                created_at=0,
                uid_base=uid_base,
                apparmor=confining.profile(config),
            )
            around = Surroundings(
                paths=paths,
                provided=paths,
                lower=(config.rootfs,),
                volumes={},
                cgroup_v2=cgroup.v2_path,
                cgroup_v1=tuple(cgroup.v1_paths),
                seccomp=parts.places.seccomp_filter(config),
                net="new",
            )
            shim = await parts.spawner.launch(shim_spec(container, around))
            undo.callback(shim.close)
            undo.push_async_callback(shim.abort)
            yield shim, cgroup

    async def _rules(self) -> list[Feature]:
        detail, owned = "", False
        try:
            owned = await self._parts.network.rehearse_rules()
        except KernelError as e:
            detail = e.message
        rules = Feature(
            name="nftables",
            found=not detail,
            costs="no networks",
            detail=detail,
            remedy="modprobe nf_tables nft_ct nft_nat nft_masq nft_fib_inet; or a kernel that has them",
            needed=True,
        )
        owner = Feature(
            name="nftables owner and persist",
            found=owned,
            costs="another program's `nft flush ruleset` takes our rules, which then have to be repaired",
            remedy="Linux 6.9 and libnftables 1.1 or newer",
        )
        return [rules, owner]


def _write_root(paths: Paths) -> ContainerConfig:
    """A root with a program that is looked for, and never run."""
    root = paths.state / "image"
    for directory, mode in ((root, 0o755), (paths.run, 0o700)):
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
    paths.state.chmod(0o710)
    (root / "program").touch(mode=0o755)
    for file in (paths.hosts, paths.hostname, paths.resolv_conf):
        file.touch()
    return ContainerConfig(rootfs=str(root), cmd=("/program",), log_driver="none")


async def _remove(paths: Paths) -> None:
    with anyio.CancelScope(shield=True):
        for directory in (paths.state, paths.run):
            await threads.run_sync(lambda directory=directory: remove_tree(directory))  # type: ignore[misc]


def _unlimited(cgroup: Cgroup) -> dict[str, str]:
    refused = {}
    for controller, limit in LIMITS.items():
        try:
            cgroup.update(limit)
        except (HawseError, OSError) as e:
            refused[controller] = features.why(e)
    return refused


async def _tells_exit(pidfd: int) -> bool:
    with anyio.move_on_after(REMEMBERED):
        while process.exit_status(pidfd) is None:
            await anyio.sleep(0.005)
        return True
    return False


def _stages(trial: Trial) -> Iterator[Feature]:
    """A row for each stage up to the one that failed; what comes after it was not reached."""
    for stage, name in STAGES.items():
        failed = stage == trial.stage
        yield Feature(
            name=name,
            found=not failed,
            costs="no networks" if stage == "network" else "no container can start",
            detail=trial.message if failed else "",
            remedy=remedy(stage, trial.message, _namespace_limits()) if failed else "",
            needed=True,
        )
        if failed:
            return


def _without_ids(trial: Trial) -> Feature:
    return Feature(
        name="a start with --userns host",
        found=not trial.stage,
        costs="this does not start either",
        detail=trial.message,
        remedy=remedy(trial.stage, trial.message, _namespace_limits()),
    )


def _limits(trial: Trial, *, v2: bool) -> Feature:
    return Feature(
        name="cgroup limits",
        found=not trial.unlimited,
        costs=f"not enforced: {', '.join(trial.unlimited)}",
        detail=next(iter(trial.unlimited.values()), "v2" if v2 else "v1"),
        remedy="boot with these controllers enabled (systemd: cgroup v2; Delegate=yes in the daemon's unit)",
    )


def _exit(is_told: bool) -> Feature:
    return Feature(
        name="exit status by pidfd",
        found=is_told,
        costs="the exit code of a container whose shim was killed is unknown",
        remedy="Linux 6.15 or newer",
    )


def _namespace_limits() -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in Path("/proc/sys/user").glob("max_*_namespaces")}
