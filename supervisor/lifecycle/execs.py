"""Programs run in a running container by `exec`: created, started, inspected.

Kept in memory like docker's: an exec belongs to the client that made it.  The running program itself belongs to the shim
and outlives the daemon; the next one takes it over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import anyio.abc
import structlog

from hawse.supervisor.core import events
from hawse.supervisor.core.capabilities import ALL_CAPABILITIES, capabilities
from hawse.supervisor.core.errors import Conflict, HawseError, NotFound
from hawse.supervisor.core.model import Container, ContainerId, State
from hawse.supervisor.lifecycle.running import check_running
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import AttachOptions
from hawse.supervisor.runtime.spec import apparmor_profile, environment
from hawse.supervisor.shim.specs import ProcessSpec
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()

KEPT = 1000
"""Ended execs that can still be inspected; the oldest are forgotten first."""
RECORD_DEADLINE = 10.0  # seconds that an inspection waits for an end that the shim knows to be written down
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between two attempts to record an end


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecConfig:
    """What the client asked for."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    tty: bool = False
    console: tuple[int, ...] = ()
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    privileged: bool = False
    detach_keys: str = ""


@dataclass(slots=True, kw_only=True)
class Exec:
    """One exec; `code` None until it has ended."""

    id: str
    container_id: ContainerId
    config: ExecConfig
    pid: int = 0
    running: bool = False
    code: int | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)


class Execs:
    def __init__(self, parts: Parts, tasks: anyio.abc.TaskGroup) -> None:
        self._parts = parts
        self._tasks = tasks
        self._execs: dict[str, Exec] = {}

    async def adopt(self) -> None:
        """Adopt those that an earlier daemon began: they go on, or have ended since, and the shims know how."""

        shims = dict(self._parts.live.shims)  # one that ends meanwhile goes from the others

        def unended(tx: Tx) -> list[tuple[str, events.ExecStarted]]:
            begun: dict[str, tuple[str, events.ExecStarted]] = {}
            kinds = (events.ExecStarted.TYPE, events.ExecEnded.TYPE)
            for container_id in shims:
                for event in tx.last_events(f"container/{container_id}", *kinds, limit=KEPT):
                    if isinstance(event.fact, events.ExecStarted):
                        begun[event.fact.exec_id] = (event.id, event.fact)
                    elif isinstance(event.fact, events.ExecEnded):
                        begun.pop(event.fact.exec_id, None)
            return list(begun.values())

        for event_id, fact in await self._parts.store.read(unended):
            shim = shims[fact.container.id]
            try:
                known = (await shim.state())["execs"].get(fact.exec_id)
            except HawseError as e:
                log.error("exec_not_adopted", container=shim.id[:12], error=str(e))
                continue
            if known is not None:  # else it was an earlier run's
                config = ExecConfig(argv=fact.argv)
                found = Exec(id=fact.exec_id, container_id=shim.id, config=config, pid=known["pid"], running=True)
                self._execs[found.id] = found
                self._parts.live.followed_execs.add(found.id)
                self._tasks.start_soon(self._follow, found, [], event_id, True)

    async def create(self, ref: str, config: ExecConfig) -> Exec:
        """Raises NotFound, Conflict when the container does not run."""
        container = await self.running(ref)
        fresh = Exec(id=f"{self._parts.random.getrandbits(256):064x}", container_id=container.id, config=config)
        while len(self._execs) >= KEPT:
            oldest = next((i for i, e in self._execs.items() if not e.running), next(iter(self._execs)))
            del self._execs[oldest]
        self._execs[fresh.id] = fresh
        return fresh

    def find(self, exec_id: str) -> Exec:
        try:
            return self._execs[exec_id]
        except KeyError:
            raise NotFound(f"No such exec instance: {exec_id}") from None

    async def settled(self, exec_id: str) -> Exec:
        """Find it as `find` does, but never behind the program: a client whose stream has ended is told the exit code."""
        found = self.find(exec_id)
        if found.running and await self._is_over(found):
            with anyio.move_on_after(RECORD_DEADLINE):
                await found.ended.wait()
        return found

    async def _is_over(self, found: Exec) -> bool:
        """Tell whether its end only has to be noticed here; with its container it ends for certain."""
        if (shim := self._parts.live.shims.get(found.container_id)) is None:
            return True
        try:
            told = (await shim.state()).get("execs", {}).get(found.id)
        except (HawseError, OSError):
            return True
        return told is not None and not told["running"]

    def running_in(self, container_id: ContainerId) -> list[str]:
        """Ids of the execs that run in a container."""
        return [e.id for e in self._execs.values() if e.running and e.container_id == container_id]

    async def start(self, exec_id: str, fd: int | None, prefix: bytes, *, framed: bool = False) -> Exec:
        """Run it; `fd` is the client's socket, handed to the shim, or None when detached.  `framed`: its output to there.

        Raises Conflict when it was started before, StartError (126, 127) when it cannot be executed.
        """
        found = self.find(exec_id)
        if found.running or found.code is not None:
            raise Conflict(f"exec {exec_id} has already been started")
        container = await self.running(found.container_id)
        config = found.config
        attach = None
        if fd is not None:
            attach = AttachOptions(
                stdin=config.stdin,
                stdout=config.stdout,
                stderr=config.stderr,
                framed=framed,
                detach_keys=config.detach_keys,
            )
        if (shim := self._parts.live.shims.get(container.id)) is None:  # it has ended since we looked
            raise Conflict(f"container {container.id} is not running")
        found.running = True
        self._parts.live.followed_execs.add(exec_id)
        try:
            seccomp = self._parts.places.seccomp_filter(container.config)
            found.pid = await shim.exec(exec_id, process(container, config, seccomp), attach, fd, prefix)
        except BaseException as e:
            found.running = False
            self._parts.live.followed_execs.discard(exec_id)
            code = getattr(e, "exit_code", 126)
            found.code = 126 if code == 125 else code  # 125 is for what could not be made at all; this was
            found.ended.set()
            raise
        started = events.ExecStarted(container=container, exec_id=exec_id, argv=config.argv)
        owed: list[events.Fact] = []
        begun = ""
        try:
            begun = (await self._parts.store.transact(lambda tx: tx.append(started))).id
        except HawseError as e:  # a full disk: it runs all the same, and its client waits for it
            log.error("exec_not_recorded", container=container.id[:12], error=str(e))
            owed.append(started)
        finally:
            self._tasks.start_soon(self._follow, found, owed, begun)
        return found

    async def resize(self, exec_id: str, rows: int, cols: int) -> None:
        found = self.find(exec_id)
        if shim := self._parts.live.shims.get(found.container_id):
            await shim.resize(rows, cols, exec_id)

    async def _follow(self, found: Exec, owed: list[events.Fact], begun: str, adopted: bool = False) -> None:
        """Wait for its end, tell those who wait, and then write down what is owed, however long that takes.

        The end of one that was taken over may be written down: its container had ended in just that moment.
        """
        shim = self._parts.live.shims.get(found.container_id)
        found.code = await shim.exec_exit(found.id) if shim else 137
        found.running = False
        found.ended.set()
        code, pause = found.code, FIRST_PAUSE

        def ended(tx: Tx) -> None:
            container = tx.container(found.container_id)
            if container is not None and not (adopted and found.id not in tx.unended_execs(found.container_id)):
                cause = begun
                for fact in (*owed, events.ExecEnded(container=container, exec_id=found.id, code=code)):
                    cause = tx.append(fact, cause).id

        while True:
            try:
                await self._parts.store.transact(ended)
                self._parts.live.followed_execs.discard(found.id)
                return
            except HawseError as e:
                log.error("exec_end_not_recorded", container=found.container_id[:12], error=str(e), retry_in=pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def running(self, ref: str) -> Container:
        """The container, if programs can be run in it.  Raises NotFound, Conflict."""
        container = await self._parts.store.read(lambda tx: tx.find(ref))
        if container.state is State.PAUSED:
            raise Conflict(f"container {container.name} is paused, unpause the container before exec")
        check_running(container)
        return container


def process(container: Container, config: ExecConfig, seccomp: str) -> ProcessSpec:
    """The container's own rules, with what the exec asked for."""
    own = container.config
    hostname = own.hostname or container.id[:12]
    privileged = config.privileged or own.privileged
    env = environment(own, hostname, config.env)
    return ProcessSpec(
        argv=list(config.argv),
        env=[*env, "TERM=xterm"] if config.tty and not any(e.startswith("TERM=") for e in env) else env,
        cwd=config.workdir or own.workdir or "/",
        user=config.user or own.user,
        groups=list(own.group_add),
        tty=config.tty,
        console=list(config.console),
        stdin=config.stdin,
        caps=list(ALL_CAPABILITIES) if privileged else capabilities(own),
        no_new_privileges=own.no_new_privileges and not privileged,
        seccomp="" if privileged else seccomp,
        apparmor=apparmor_profile(container),  # also with --privileged, as docker has it
        rlimits={u.name: [u.soft, u.hard] for u in own.ulimits},
        oom_score_adj=own.oom_score_adj,
    )
