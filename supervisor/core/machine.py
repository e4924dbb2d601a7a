"""The container's state machine.

Rule 1: everything that decides a container's state lives in this file.
Rule 2: this file does nothing: `step` takes a record, a stimulus and the time, and returns the new record with the facts
        to journal.  Who acts on them (engine.py) and who reacts (handlers/) is not known here.

The table below is the whole truth about what may follow what; docs/states.md is made from it.  What does not fit into it is in
`step`: a failed start of a container that ran before leads to exited.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import IllegalTransition
from hawse.supervisor.core.model import Container, Endpoint, Exit, ProcessIdentity, State, Verb, Wish

STORY_LENGTH = 12
REBOOTED = "the machine was restarted"
"""The reason of an exit that nobody saw because everything ended: the boot id is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """Somebody wants it running; resources are about to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The user's program was exec'd."""

    process: ProcessIdentity
    shim: ProcessIdentity
    endpoints: tuple[Endpoint, ...]
    stages: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    """The start was unwound."""

    stage: str
    error: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The first process is gone; `endpoints` are what it had."""

    exit: Exit
    endpoints: tuple[Endpoint, ...]
    peak_memory: int = 0
    cpu_ns: int = 0
    oom_kills: int = 0
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """The kernel has killed `kills` of its processes in this run, for want of memory."""

    kills: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """A user wants it to end, by a `verb` (stop, restart, kill, remove): restart policies stand back.

    It is kept until the next start: the daemon may die before it has sent the signal.
    """

    verb: Verb = Verb.STOP
    signal: int = 0
    grace: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuttingDown:
    """It ends since the engine does: no failure of its own, and no user's wish, which outranks this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Its processes are frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Its processes run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartScheduled:
    """The restart policy waits `delay_ns` before the next start."""

    delay_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartCancelled:
    """A user stopped it while it waited to be restarted.

    By `restart`, of which `signal` is what it would have got, it is to start again at once: that is kept until it has.
    """

    signal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRequested:
    """It is to be removed, with `volumes` its own ones too."""

    volumes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Teardown cannot finish; it is retried."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Nothing of it is left: its rows go in the same transaction."""


Stimulus = (
    StartRequested
    | Started
    | StartFailed
    | Exited
    | OutOfMemory
    | StopRequested
    | ShuttingDown
    | Paused
    | Resumed
    | RestartScheduled
    | RestartCancelled
    | RemoveRequested
    | Quarantined
    | Removed
)

S = State
TRANSITIONS: dict[tuple[State, type[Stimulus]], State] = {
    (S.CREATED, StartRequested): S.STARTING,
    (S.EXITED, StartRequested): S.STARTING,
    (S.RESTARTING, StartRequested): S.STARTING,
    (S.STARTING, Started): S.RUNNING,
    (S.STARTING, StartFailed): S.CREATED,  # exited, if it ran before: see `step`
    (S.STARTING, StopRequested): S.STARTING,
    (S.RUNNING, StopRequested): S.RUNNING,
    (S.PAUSED, StopRequested): S.PAUSED,
    (S.RESTARTING, StopRequested): S.RESTARTING,
    (S.STARTING, ShuttingDown): S.STARTING,
    (S.RUNNING, ShuttingDown): S.RUNNING,
    (S.PAUSED, ShuttingDown): S.PAUSED,
    (S.RUNNING, Paused): S.PAUSED,
    (S.PAUSED, Resumed): S.RUNNING,
    (S.RUNNING, Exited): S.EXITED,
    (S.PAUSED, Exited): S.EXITED,
    (S.RUNNING, OutOfMemory): S.RUNNING,
    (S.PAUSED, OutOfMemory): S.PAUSED,
    (S.EXITED, RestartScheduled): S.RESTARTING,
    (S.RESTARTING, RestartScheduled): S.RESTARTING,  # the attempt was refused before it began
    (S.RESTARTING, RestartCancelled): S.EXITED,
    (S.CREATED, RemoveRequested): S.REMOVING,
    (S.EXITED, RemoveRequested): S.REMOVING,
    (S.RESTARTING, RemoveRequested): S.REMOVING,
    (S.DEAD, RemoveRequested): S.REMOVING,
    (S.REMOVING, RemoveRequested): S.REMOVING,
    (S.REMOVING, Quarantined): S.DEAD,
    (S.EXITED, Quarantined): S.DEAD,
    (S.REMOVING, Removed): S.REMOVING,
    (S.CREATED, Removed): S.REMOVING,  # its directories could not be made
}
"""(state, stimulus) → next state.  A pair that is not here raises IllegalTransition."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a stimulus led to: the record to store and the facts to journal with it, in order."""

    container: Container
    facts: tuple[events.Fact, ...] = field(default=())


def step(container: Container, stimulus: Stimulus, now: int) -> Step:
    """Apply one stimulus.  `now` in ns since the Unix epoch.  Raises IllegalTransition."""
    name = type(stimulus).__name__
    target = TRANSITIONS.get((container.state, type(stimulus)))
    if target is None:
        raise IllegalTransition(container.id, container.state, name, container.story)
    told = (*container.story, f"{name}→{target}")[-STORY_LENGTH:]
    moved = replace(container, state=target, story=told)
    match stimulus:
        case StartRequested():
            return Step(
                replace(
                    moved,
                    error="",
                    process=None,
                    shim=None,
                    wish=container.wish if container.is_asked_to(Verb.RESTART) else None,
                    stages={},
                    restart_count=container.restart_count + 1 if container.state is S.RESTARTING else 0,
                )
            )
        case Started(endpoints=endpoints):
            running = replace(
                moved,
                process=stimulus.process,
                shim=stimulus.shim,
                started_at=now,
                finished_at=0,
                exit=None,
                oom_kills=0,
                stages=stimulus.stages,
                wish=None,
                health="starting" if container.config.healthcheck.is_enabled else "",
            )
            again = container.is_asked_to(Verb.RESTART)
            return Step(running, (events.ContainerStarted(container=running, endpoints=endpoints, restarted=again),))
        case StartFailed(stage=stage, error=error, exit_code=code):
            failed = replace(
                moved,
                state=S.EXITED if container.started_at else target,
                error=error,
                process=None,
                shim=None,
                wish=None,
                finished_at=now,
                exit=Exit(code=code, reason=f"start failed at {stage}", finished_at=now),
            )
            return Step(failed, (events.ContainerStartFailed(container=failed, stage=stage, error=error),))
        case Exited():
            ended = replace(
                moved,
                process=None,
                shim=None,
                exit=stimulus.exit,
                finished_at=stimulus.exit.finished_at or now,
                oom_kills=max(stimulus.oom_kills, container.oom_kills),
                health="unhealthy" if container.health else "",  # docker's word for what nobody checks any more
            )
            died = events.ContainerExited(
                container=ended,
                endpoints=stimulus.endpoints,
                exit=stimulus.exit,
                ran_ns=max(0, ended.finished_at - ended.started_at),
                peak_memory=stimulus.peak_memory,
                cpu_ns=stimulus.cpu_ns,
                last_lines=stimulus.last_lines,
            )
            if ended.oom_kills > container.oom_kills:
                return Step(ended, (events.ContainerOom(container=ended, endpoints=stimulus.endpoints), died))
            return Step(ended, (died,))
        case OutOfMemory(kills=kills, endpoints=endpoints):
            short = replace(moved, oom_kills=kills)
            return Step(short, (events.ContainerOom(container=short, endpoints=endpoints),))
        case StopRequested(verb=verb, signal=signal, grace=grace):
            return Step(replace(moved, wish=Wish(verb=verb, signal=signal, grace=grace)))
        case ShuttingDown():
            return Step(replace(moved, wish=container.wish or Wish(verb=Verb.SHUTDOWN)))
        case Paused():
            return Step(moved, (events.ContainerPaused(container=moved),))
        case Resumed():
            return Step(moved, (events.ContainerResumed(container=moved),))
        case RestartScheduled(delay_ns=delay):
            refused = 1 if container.state is S.RESTARTING else 0
            waiting = replace(moved, restart_count=container.restart_count + refused)
            return Step(waiting, (events.ContainerRestarting(container=waiting, delay_ns=delay),))
        case RestartCancelled(signal=signal):
            return Step(replace(moved, wish=Wish(verb=Verb.RESTART if signal else Verb.STOP, signal=signal)))
        case RemoveRequested(volumes=volumes):
            forced = container.wish if container.is_asked_to(Verb.REMOVE) else None
            return Step(replace(moved, error="", wish=replace(forced or Wish(verb=Verb.REMOVE), volumes=volumes)))
        case Quarantined(reason=reason):
            dead = replace(moved, error=reason)
            return Step(dead, (events.ContainerQuarantined(container=dead, reason=reason),))
        case Removed():
            return Step(moved, (events.ContainerRemoved(container=moved),))
