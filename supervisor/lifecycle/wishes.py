"""What a user asked of a container, kept in its record: a daemon may die before it has sent the signal.

ask            that it ends, and how
call_off       the start of one that waits to be restarted
to_restart     that the start which comes is the other half of a restart
forget         what has been answered
carry_through  by the next daemon, what the last one left
"""

from __future__ import annotations

import signal as signals
from collections.abc import Awaitable, Callable

import structlog
from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import HawseError, NotFound, NotModified
from hawse.supervisor.core.model import Container, ContainerId, State, Verb, Wish
from hawse.supervisor.lifecycle import signalling
from hawse.supervisor.lifecycle.transitions import move, serial, step
from hawse.supervisor.locks import KeyedLocks
from hawse.supervisor.parts import Parts
from hawse.supervisor.store.tx import Tx

log = structlog.get_logger()


async def ask(parts: Parts, container: Container, verb: Verb, signal: int, grace: int = -1) -> None:
    """That it ends, with the signal that it is about to get for that."""

    def write(tx: Tx) -> None:
        wish = machine.StopRequested(verb=verb, signal=signal, grace=grace)
        asked = move(tx, container, wish, parts.clock())
        tx.append(events.ContainerKilled(container=asked, signal=signal))
        if asked.state is State.PAUSED:
            move(tx, asked, machine.Resumed(), parts.clock())

    await parts.store.transact(write)
    faults.point("stop.recorded")


async def call_off(parts: Parts, container: Container, *, restart_with: int = 0) -> None:
    """End the wait for a restart; with the signal that a `restart` would have sent it is to start at once instead."""
    await step(parts, container, machine.RestartCancelled(signal=restart_with))
    faults.point("stop.recorded")


def to_restart(container: Container) -> Container:
    """Return it as it is to be started by a user's `restart`, whether it was stopped for that or had ended before."""
    wish = container.wish or Wish(verb=Verb.RESTART)
    return replace(container, wish=replace(wish, verb=Verb.RESTART))


def forget(tx: Tx, container_id: ContainerId) -> None:
    """Note that what a user asked has been answered: it is not carried through."""
    if (container := tx.container(container_id)) and container.wish and container.is_unfinished:
        tx.put(replace(container, wish=replace(container.wish, signal=0)))


async def kill(parts: Parts, container: Container, signal: int) -> None:
    """Send what a kill asked for.  What survives that signal was not meant to end by it: no later daemon sends it again."""
    signalling.wake_with(parts, parts.live.shims.get(container.id), signal)
    if signal != signals.SIGKILL:
        await parts.store.transact(lambda tx: forget(tx, container.id))


async def carry_through(
    parts: Parts, container: Container, restarts: KeyedLocks, start: Callable[[ContainerId], Awaitable[None]]
) -> None:
    """A stop, kill or restart that the last daemon had written down; `container` is as it left it.

    `restarts` are held between the end and the start of one, which is `start`.
    """
    assert container.wish is not None
    verb = container.wish.verb.value
    log.info("carrying_through", container=container.id[:12], verb=verb)
    try:
        if not container.is_asked_to(Verb.RESTART):
            await _end(parts, container)
            return
        async with restarts.hold(container.id):
            await _end(parts, container)
            current = await parts.store.read(lambda tx: tx.find(container.id))
            # Else a user has stopped it since.  What was starting was unwound, and the wish forgotten with that.
            if current.is_asked_to(Verb.RESTART) or container.state is State.STARTING:
                await start(container.id)
    except (NotFound, NotModified):
        pass  # somebody has removed or started it meanwhile
    except HawseError as e:
        log.error("not_carried_through", container=container.id[:12], verb=verb, error=str(e))


async def _end(parts: Parts, container: Container) -> None:
    """Send the signal, which the last daemon may have sent or not, and wait for the end, but not after a kill."""
    with signalling.exit_of(parts.live.waits, container) as ended:
        async with serial(parts, container.id) as current:
            if current.wish is None or not current.state.is_alive or not current.is_unfinished:
                return
            await signalling.record(parts.store, current, current.wish.signal)
            if current.is_asked_to(Verb.KILL):
                await kill(parts, current, current.wish.signal)
                return
        await signalling.end(parts, current, current.wish.signal, current.wish.grace, ended)
