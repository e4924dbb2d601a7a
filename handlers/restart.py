"""Restart policies: no, on-failure[:N], always, unless-stopped, with docker's back-off.

Two durable steps, so that a crash between them loses neither: an exit is answered with `container.restarting`, which says
after how long, and that event starts the container when its time has come.  When a daemon has recovered, those with
`always` that a user had stopped come back as well; that is all that sets `always` apart from `unless-stopped`.
"""

from __future__ import annotations

from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import HawseError, NotModified
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Container, Exit, State, Verb
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.lifecycle.transitions import move
from hawse.supervisor.parts import Context
from hawse.supervisor.store.tx import Tx

FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 60_000_000_000
SETTLED_NS = 10_000_000_000  # a run this long starts the back-off anew
OVERTAKEN = (events.ContainerStarted.TYPE, events.ContainerStartFailed.TYPE, events.ContainerRemoved.TYPE)


def wants_restart(container: Container) -> bool:
    """Tell whether the policy starts it again after this exit.  That engine or machine end is no failure of it."""
    policy, ended = container.config.restart, container.exit or Exit(code=None)
    if container.is_stopped_by_user:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            by_others = ended.reason == machine.REBOOTED or container.is_asked_to(Verb.SHUTDOWN)
            failed = ended.code != 0 and not by_others
            return failed and (not policy.max_retries or container.restart_count < policy.max_retries)
    return False


def delay(container: Container, ran_ns: int) -> int:
    """Nanoseconds until the next start: 100 ms, doubling up to a minute."""
    if ran_ns >= SETTLED_NS:
        return FIRST_DELAY_NS
    return int(min(LONGEST_DELAY_NS, FIRST_DELAY_NS * 2 ** min(container.restart_count, 20)))


async def schedule(event: Event, ctx: Context) -> None:
    fact = event.fact
    assert isinstance(fact, events.ContainerExited | events.ContainerStartFailed)
    if isinstance(fact, events.ContainerStartFailed) and not (
        fact.container.restart_count or fact.container.state is State.RESTARTING
    ):
        return  # a user's own start: its error went to the user
    ran_ns = fact.ran_ns if isinstance(fact, events.ContainerExited) else 0

    def decide(tx: Tx) -> None:
        container = tx.container(fact.container.id)
        if (
            container
            and container.state is fact.container.state
            and container.finished_at == fact.container.finished_at
        ) and wants_restart(container):
            move(tx, container, machine.RestartScheduled(delay_ns=delay(container, ran_ns)), ctx.parts.clock())

    faults.point("restart.ended")
    await ctx.parts.store.transact(decide)
    faults.point("restart.decided")


async def start(event: Event, ctx: Context) -> None:
    fact = event.fact
    assert isinstance(fact, events.ContainerRestarting)
    parts, container_id = ctx.parts, fact.container.id
    # A user's own start must not leave the next restart waiting behind this one's long sleep.
    with parts.live.waits.expect(event.subject, *OVERTAKEN) as overtaken:
        if not await parts.store.read(lambda tx: _is_due(tx, event)):
            return
        # The clock may have been set back since: the delay is the longest that it waits.
        left = min(fact.delay_ns, event.time + fact.delay_ns - parts.clock())
        if await overtaken.wait(max(0, left) / 1e9) is not None:
            return
    if not await parts.store.read(lambda tx: _is_due(tx, event)):
        return  # stopped, removed or started by somebody meanwhile
    faults.point("restart.due")
    try:
        await ctx.engine.start(container_id, by_policy=True)
    except NotModified:
        return
    except HawseError:
        return  # container.start_failed is in the journal, and `schedule` answers it
    faults.point("restart.done")


def _is_due(tx: Tx, event: Event) -> bool:
    """Tell whether it still waits, and for this event and not for a later one."""
    (latest,) = tx.last_events(event.subject, events.ContainerRestarting.TYPE, limit=1)
    container = tx.container(latest.fact.container.id) if isinstance(latest.fact, events.ContainerRestarting) else None
    return latest.seq == event.seq and container is not None and container.state is State.RESTARTING


async def resume(event: Event, ctx: Context) -> None:
    """Start what docker would: a daemon that comes up starts what has `always`, whoever had stopped it before."""

    def schedule_stopped(tx: Tx) -> None:
        for container in tx.containers():
            policy = container.config.restart.name
            stopped = container.state is State.EXITED and container.is_stopped_by_user
            if policy == "always" and stopped and container.finished_at <= event.time:
                wanted = container if container.is_unfinished else replace(container, wish=None)
                move(tx, wanted, machine.RestartScheduled(delay_ns=0), ctx.parts.clock())

    await ctx.parts.store.transact(schedule_stopped)


SCHEDULE = Handler(
    name="restart.schedule",
    types=(events.ContainerExited.TYPE, events.ContainerStartFailed.TYPE),
    mode="durable",
    handle=schedule,
    builtin=True,
)
START = Handler(
    name="restart.start",
    types=(events.ContainerRestarting.TYPE,),
    mode="durable",
    handle=start,
    deadline=120.0,
    concurrency=1000,  # most of them only wait
    builtin=True,
)
RESUME = Handler(
    name="restart.resume",
    types=(events.DaemonRecovered.TYPE,),
    mode="durable",
    handle=resume,
    builtin=True,
)
