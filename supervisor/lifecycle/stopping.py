"""The ways in which a container's program is made to end: stop, kill, and the SIGKILL of a forced removal.

What becomes of it then is ending.py's.
"""

from __future__ import annotations

import signal as signals
from contextlib import AbstractContextManager

from msgspec.structs import replace

from hawse.supervisor import faults
from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import Conflict, NotModified, Unavailable
from hawse.supervisor.core.model import Container, ContainerId, State
from hawse.supervisor.core.signal_names import signal_number
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.journal.waits import Expectation
from hawse.supervisor.lifecycle.transitions import move, serial, step
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.store.tx import Tx

KILL_DEADLINE = 45.0  # seconds from SIGKILL to the recorded exit: output is drained, a shim that hangs is found out


async def stop(
    parts: Parts,
    dispatcher: Dispatcher,
    ref: str,
    timeout: int | None = None,
    signal: str | None = None,
    *,
    by_engine: bool = False,
    verb: str = "stop",
) -> None:
    """Its stop signal, then SIGKILL after `timeout` seconds (-1 never).  Raises NotModified when it does not run.

    By the engine it counts as no user's wish and no failure: `always` and `unless-stopped` will start it again.
    """
    number = signal_number(signal) if signal else None
    found = await parts.store.read(lambda tx: tx.find(ref))
    with _exit_of(parts, found) as ended:  # before the look at its state: an exit in between must not be missed
        async with serial(parts, found.id) as container:
            first = number or signal_number(container.config.stop_signal)
            if container.state is State.RESTARTING:
                if by_engine:
                    return
                await _cancel_restart(
                    parts, container, machine.RestartCancelled(signal=first if verb == "restart" else 0)
                )
                return
            if not container.state.is_alive:
                raise NotModified(f"container {container.name} is not running")
            await dispatcher.gate(events.PreStop(container=container))
            grace = container.config.stop_timeout if timeout is None else timeout
            if by_engine:
                await step(parts, container, machine.ShuttingDown())
            else:
                await _end_by(parts, container, verb, first, grace)
        await _end(parts, container, first, grace, ended)


async def carry_through(parts: Parts, container: Container) -> None:
    """What an earlier daemon was asked for, from its beginning: nobody knows whether the signal was sent.

    Returns when the container has ended; a kill does not wait for that.
    """
    with _exit_of(parts, container) as ended:
        async with serial(parts, container.id) as current:
            if not current.state.is_alive or not current.is_unfinished:
                return
            await _record_signal(parts, current, current.end_signal)
            if current.ended_by == "kill":
                await _kill(parts, current, current.end_signal)
                return
        await _end(parts, current, current.end_signal, current.end_grace, ended)


async def _end(parts: Parts, container: Container, signal: int, grace: int, ended: Expectation) -> None:
    """The signal and, when it has not ended after `grace` seconds, SIGKILL."""
    shim = parts.shims.get(container.id)  # of this run: the signals are for no later one
    _wake_with(parts, shim, signal)
    if await ended.wait(None if grace < 0 else grace) is None:
        await _record_signal(parts, container, signals.SIGKILL)
        _wake_with(parts, shim, signals.SIGKILL)
        await _wait_killed(container, ended)


async def kill(parts: Parts, ref: str, signal: int) -> None:
    """Send one signal; to what waits to be restarted it says, as with docker, not to.  Raises Conflict when it does not run."""
    async with serial(parts, ref) as container:
        ends = signal in (signals.SIGKILL, signal_number(container.config.stop_signal))
        if ends and container.state is State.RESTARTING:
            await _cancel_restart(parts, container, machine.RestartCancelled())
            return
        if not container.state.is_alive:
            raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
        if ends:
            await _end_by(parts, container, "kill", signal)
            await _kill(parts, container, signal)
        else:
            await _record_signal(parts, container, signal)
            if shim := parts.shims.get(container.id):
                shim.kill(signal)


async def _cancel_restart(parts: Parts, container: Container, wish: machine.RestartCancelled) -> None:
    await step(parts, container, wish)
    faults.point("stop.recorded")


async def _kill(parts: Parts, container: Container, signal: int) -> None:
    """What survives that signal was not meant to end by it: no later daemon sends it again."""
    _wake_with(parts, parts.shims.get(container.id), signal)
    if signal != signals.SIGKILL:
        await parts.store.transact(lambda tx: forget_wish(tx, container.id))


async def end(parts: Parts, container: Container) -> None:
    """SIGKILL and the recorded exit, for a forced removal."""
    with _exit_of(parts, container) as ended:
        async with serial(parts, container.id) as current:
            if not current.state.is_alive:
                return
            await _end_by(parts, current, "remove", signals.SIGKILL)
            _wake_with(parts, parts.shims.get(current.id), signals.SIGKILL)
        await _wait_killed(current, ended)


async def _end_by(parts: Parts, container: Container, verb: str, signal: int, grace: int = -1) -> None:
    """A user's wish that it ends, and the signal that it is about to get for it."""

    def ask(tx: Tx) -> None:
        wish = machine.StopRequested(verb=verb, signal=signal, grace=grace)
        asked = move(tx, container, wish, parts.clock())
        tx.append(events.ContainerKilled(container=asked, signal=signal))
        if asked.state is State.PAUSED:
            move(tx, asked, machine.Resumed(), parts.clock())

    await parts.store.transact(ask)
    faults.point("stop.recorded")


async def _record_signal(parts: Parts, container: Container, signal: int) -> None:
    def record(tx: Tx) -> None:
        if (now := tx.container(container.id)) and now.state.is_alive:  # else it has ended by itself meanwhile
            tx.append(events.ContainerKilled(container=now, signal=signal))

    await parts.store.transact(record)


def forget_wish(tx: Tx, container_id: ContainerId) -> None:
    """What a user asked has been answered: it is not carried through."""
    if (container := tx.container(container_id)) and container.is_unfinished:
        tx.put(replace(container, end_signal=0))


def _exit_of(parts: Parts, container: Container) -> AbstractContextManager[Expectation]:
    return parts.waits.expect(f"container/{container.id}", "container.exited", "container.start_failed")


def _wake_with(parts: Parts, shim: Shim | None, signal: int) -> None:
    """Through the pidfd; a process that is gone needs no signal.  What is frozen does not even die of SIGKILL (cgroup v1)."""
    if shim is not None:
        shim.kill(signal)
        Cgroup.open(parts.cgroups, shim.id).thaw()


async def _wait_killed(container: Container, ended: Expectation) -> None:
    """SIGKILL was sent.  Raises Unavailable: its end will be recorded when it comes, but nobody waits for it for ever."""
    if await ended.wait(KILL_DEADLINE) is None:
        pid = container.process.pid if container.process else "?"
        raise Unavailable(
            f"container {container.name} has not ended {KILL_DEADLINE:g} s after SIGKILL",
            hint=f"what is process {pid} waiting for? see /proc/{pid}/stack; and is the state database written to?",
        )
