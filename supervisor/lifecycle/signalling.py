"""Signals to a container that runs, and the wait for its end.  Who asked for them, and why, is not known here."""

from __future__ import annotations

import signal as signals
from contextlib import AbstractContextManager

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Unavailable
from hawse.supervisor.core.model import Container
from hawse.supervisor.journal.waits import Expectation, Waits
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.parts import Parts
from hawse.supervisor.runtime.client import Shim
from hawse.supervisor.store.store import Store
from hawse.supervisor.store.tx import Tx

KILL_DEADLINE = 45.0  # seconds from SIGKILL to the recorded exit: output is drained, a shim that hangs is found out


def exit_of(waits: Waits, container: Container) -> AbstractContextManager[Expectation]:
    """Expect its exit: within the block, also one that comes before it is waited for is seen."""
    return waits.expect(f"container/{container.id}", "container.exited", "container.start_failed")


async def end(parts: Parts, container: Container, signal: int, grace: int, ended: Expectation) -> None:
    """Send the signal and, when it has not ended after `grace` seconds (-1 never), SIGKILL.  Raises Unavailable."""
    shim = parts.live.shims.get(container.id)  # of this run: the signals are for no later one
    wake_with(parts, shim, signal)
    if await ended.wait(None if grace < 0 else grace) is None:
        await record(parts.store, container, signals.SIGKILL)
        wake_with(parts, shim, signals.SIGKILL)
        await wait_killed(container, ended)


async def record(store: Store, container: Container, signal: int) -> None:
    """Journal a signal that it is about to get."""

    def append(tx: Tx) -> None:
        if (now := tx.container(container.id)) and now.state.is_alive:  # else it has ended by itself meanwhile
            tx.append(events.ContainerKilled(container=now, signal=signal))

    await store.transact(append)


def wake_with(parts: Parts, shim: Shim | None, signal: int) -> None:
    """Through the pidfd; a process that is gone needs no signal.  What is frozen does not even die of SIGKILL (cgroup v1)."""
    if shim is not None:
        shim.kill(signal)
        Cgroup.open(parts.cgroups, shim.id).thaw()


async def wait_killed(container: Container, ended: Expectation) -> None:
    """SIGKILL was sent.  Raises Unavailable: its end will be recorded when it comes, but nobody waits for it for ever."""
    if await ended.wait(KILL_DEADLINE) is None:
        pid = container.process.pid if container.process else "?"
        raise Unavailable(
            f"container {container.name} has not ended {KILL_DEADLINE:g} s after SIGKILL",
            hint=f"what is process {pid} waiting for? see /proc/{pid}/stack; and is the state database written to?",
        )
