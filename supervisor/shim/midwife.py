"""Brings init into the world for a shim, and is gone: reads the spec, plans, clones, maps ids, makes init's mounts.

A process of its own, forked by the shim ahead of time: so the work dirties its memory and not that of the shim, which
stays for as long as the container.  Init is cloned with CLONE_PARENT, as a child of the shim.  Runs as the host's root,
as a straight line of steps.  Tells the shim over `link`:

    charge (the fields of Charge)    what the shim needs to know, as soon as it is known
    born (pid) + pidfd               init exists
    delivered (sources: µs)          init has everything that it needs of the host
    failed                           at any time instead

Stdlib only.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from dataclasses import asdict, dataclass
from typing import NoReturn

from hawse.supervisor import faults
from hawse.supervisor.linux import syscalls, userns
from hawse.supervisor.shim import init, protocol, specs
from hawse.supervisor.shim.offspring import keep_only, tell_failure
from hawse.supervisor.shim.plan import AnySource, Plan, plan
from hawse.supervisor.shim.program import Failure, read_filter
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.sources import SysfsSource
from hawse.supervisor.shim.specs import ShimSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the shim itself has to know of a spec.  For an exec, which needs all of it, it reads the file again."""

    spec_path: str
    state_dir: str
    socket: str
    log_path: str
    log_max_size: int
    log_max_files: int
    journal_fields: dict[str, str] | None
    tty: bool
    stdin_once: bool
    has_network: bool
    rlimits: dict[str, list[int]]
    oom_score_adj: int
    cgroups: list[str]


def main(link: Socket, ours: Socket, theirs: Socket) -> NoReturn:
    """`ours` and `theirs` are the ends of the socket between shim and init.  Never returns, never raises."""
    stage = "namespaces"
    try:
        keep_only(link.fileno(), ours.fileno(), theirs.fileno())
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-midwife")
        request, _ = protocol.receive(link)
        spec = read_spec(request["spec_path"])
        protocol.send(link, {"ev": "charge", **asdict(charge(spec, request["spec_path"]))})
        stage = "mounts"
        planned = plan(spec)
        stage = "namespaces"
        Midwife(spec, planned, link, ours, theirs).run()
    except EOFError:
        pass  # the shim was never needed
    except Failure as e:
        tell_failure(link, e)
    except OSError as e:
        tell_failure(link, Failure(stage, e.strerror or str(e), e.errno or 0))
    except ValueError as e:
        tell_failure(link, Failure(stage, str(e)))
    except BaseException as e:
        tell_failure(link, Failure(stage, f"{type(e).__name__}: {e}"))
    os._exit(0)


def read_spec(path: str) -> ShimSpec:
    """Raises OSError."""
    with open(path, "rb") as f:
        return specs.load_spec(f.read().decode())


def charge(spec: ShimSpec, path: str) -> Charge:
    return Charge(
        spec_path=path,
        state_dir=spec.state_dir,
        socket=spec.socket,
        log_path=spec.log_path,
        log_max_size=spec.log_max_size,
        log_max_files=spec.log_max_files,
        journal_fields=spec.journal_fields,
        tty=spec.process.tty,
        stdin_once=spec.stdin_once,
        has_network=spec.net == "new",
        rlimits=spec.process.rlimits,
        oom_score_adj=spec.process.oom_score_adj,
        cgroups=[spec.cgroup_v2] if spec.cgroup_v2 else spec.cgroup_v1,
    )


class Midwife:
    def __init__(self, spec: ShimSpec, plan: Plan, link: Socket, ours: Socket, theirs: Socket) -> None:
        self.spec, self.plan = spec, plan
        self._link, self._ours, self._theirs = link, ours, theirs
        self._pid = 0
        self._sysfs: dict[int, int] = {}

    def run(self) -> None:
        faults.point("midwife.charged")
        own_directories(self.spec)
        faults.point("midwife.directories-made")
        self._clone()
        faults.point("midwife.cloned")
        if self.spec.uid_base is not None:
            userns.write_maps(self._pid, self.spec.uid_base, self.spec.uid_count)
        faults.point("midwife.mapped")
        protocol.send(self._ours, {"op": "mapped"})
        begun = time.monotonic_ns()
        self._pass_mounts()
        faults.point("midwife.mounts-passed")
        protocol.send(self._link, {"ev": "delivered", "sources": (time.monotonic_ns() - begun) // 1000})

    def _clone(self) -> None:
        spec = self.spec
        seccomp = read_filter(spec.process.seccomp)
        flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        flags |= syscalls.CLONE_NEWNET if spec.net == "new" else 0
        flags |= syscalls.CLONE_NEWUSER if spec.uid_base is not None else 0
        cgroup = os.open(spec.cgroup_v2, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if spec.cgroup_v2 else -1
        self._join_network()
        self._pid, pidfd = syscalls.clone3(flags | syscalls.CLONE_PARENT, cgroup)
        if self._pid == 0:
            init.main(spec, self.plan, seccomp, self._theirs)
        protocol.send(self._link, {"ev": "born", "pid": self._pid}, (pidfd,))

    def _join_network(self) -> None:
        """Enter the network namespace that is to be shared, for good, and make what only its members can."""
        kind, _, pid = self.spec.net.partition(":")
        if kind == "pid":
            try:
                target = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Failure("network", "cannot join network of a non running container") from None
            syscalls.setns(target, syscalls.CLONE_NEWNET)
            os.close(target)
        for number, source in enumerate(self.plan.sources):
            if isinstance(source, SysfsSource):
                self._sysfs[number] = source.open(-1)

    def _pass_mounts(self) -> None:
        mapped = userns.open_userns(self._pid) if self.spec.uid_base is not None else -1
        batch: list[int] = []
        for number, source in enumerate(self.plan.sources):
            batch.append(self._sysfs[number] if number in self._sysfs else _open(source, mapped))
            if len(batch) == protocol.MAX_FDS or number + 1 == len(self.plan.sources):
                protocol.send(self._ours, {"op": "mounts"}, tuple(batch))
                while batch:
                    os.close(batch.pop())


def own_directories(spec: ShimSpec) -> None:
    """Upper and work exist and belong to the container's root; a new upper looks like the layer below it."""
    rootfs = spec.rootfs
    for path in (rootfs.upper, rootfs.work, rootfs.target):
        try:
            os.mkdir(path, 0o755 if path == rootfs.upper else 0o700)
        except FileExistsError:
            pass
        else:
            if path == rootfs.upper:
                os.chmod(path, stat.S_IMODE(os.stat(rootfs.lower[0]).st_mode))
        if spec.uid_base is not None and path != rootfs.target and os.stat(path).st_uid == 0:
            os.chown(path, spec.uid_base, spec.uid_base)


def _open(source: AnySource, userns: int) -> int:
    try:
        return source.open(userns)
    except OSError as e:
        text = e.strerror or str(e)
        if e.filename:
            text = f"{e.filename}: {text}"
        raise Failure("mounts", text, e.errno or 0) from None
