"""The ways in which a container's program is made to end: stop, kill, and the SIGKILL of a forced removal.

What was asked for is kept by wishes.py, the signals are signalling.py's, and what becomes of it then is ending.py's.
"""

from __future__ import annotations

import signal as signals

from hawse.supervisor.core import events, machine
from hawse.supervisor.core.errors import Conflict, NotModified
from hawse.supervisor.core.model import Container, State, Verb
from hawse.supervisor.core.signal_names import signal_number
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.lifecycle import signalling, wishes
from hawse.supervisor.lifecycle.transitions import serial, step
from hawse.supervisor.parts import Parts


async def stop(
    parts: Parts,
    dispatcher: Dispatcher,
    ref: str,
    timeout: int | None = None,
    signal: str | None = None,
    *,
    by_engine: bool = False,
    verb: Verb = Verb.STOP,
) -> None:
    """Send its stop signal, then SIGKILL after `timeout` seconds (-1 never).  Raises NotModified when it does not run.

    By the engine it counts as no user's wish and no failure: `always` and `unless-stopped` will start it again.
    """
    number = signal_number(signal) if signal else None
    found = await parts.store.read(lambda tx: tx.find(ref))
    # Before the look at its state: an exit in between must not be missed.
    with signalling.exit_of(parts.live.waits, found) as ended:
        async with serial(parts, found.id) as container:
            first = number or signal_number(container.config.stop_signal)
            if container.state is State.RESTARTING:
                if by_engine:
                    return
                await wishes.call_off(parts, container, restart_with=first if verb is Verb.RESTART else 0)
                return
            if not container.state.is_alive:
                raise NotModified(f"container {container.name} is not running")
            await dispatcher.gate(events.PreStop(container=container))
            grace = container.config.stop_timeout if timeout is None else timeout
            if by_engine:
                await step(parts, container, machine.ShuttingDown())
            else:
                await wishes.ask(parts, container, verb, first, grace)
        await signalling.end(parts, container, first, grace, ended)


async def kill(parts: Parts, ref: str, signal: int) -> None:
    """Send one signal; to what waits to be restarted it says, as with docker, not to.

    After SIGKILL it returns when the end is recorded, as docker does: who asks for it may remove the container next.
    Raises Conflict when it does not run, Unavailable when it does not end.
    """
    found = await parts.store.read(lambda tx: tx.find(ref))
    with signalling.exit_of(parts.live.waits, found) as ended:
        async with serial(parts, found.id) as container:
            ends = signal in (signals.SIGKILL, signal_number(container.config.stop_signal))
            if ends and container.state is State.RESTARTING:
                await wishes.call_off(parts, container)
                return
            if not container.state.is_alive:
                raise Conflict(f"cannot kill container: {ref}: container {container.id} is not running")
            if ends:
                await wishes.ask(parts, container, Verb.KILL, signal)
                await wishes.kill(parts, container, signal)
            else:
                await signalling.record(parts.store, container, signal)
                if shim := parts.live.shims.get(container.id):
                    shim.kill(signal)
        if signal == signals.SIGKILL:
            await signalling.wait_killed(container, ended)


async def end(parts: Parts, container: Container) -> None:
    """SIGKILL and the recorded exit, for a forced removal."""
    with signalling.exit_of(parts.live.waits, container) as ended:
        async with serial(parts, container.id) as current:
            if not current.state.is_alive:
                return
            await wishes.ask(parts, current, Verb.REMOVE, signals.SIGKILL)
            signalling.wake_with(parts, parts.live.shims.get(current.id), signals.SIGKILL)
        await signalling.wait_killed(current, ended)
