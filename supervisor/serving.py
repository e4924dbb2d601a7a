"""A daemon that serves: the ordered start, and the one tree of its tasks.

Everything that goes on beside requests is a task of the group below, and lives as long as the block.  A task that breaks ends
the daemon: it is crash-only, and its successor recovers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing

import anyio

from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.dns.server import NameServer
from hawse.supervisor.engine import Engine
from hawse.supervisor.lifecycle.execs import Execs
from hawse.supervisor.lifecycle.following import Following
from hawse.supervisor.linux.oom import OomNews
from hawse.supervisor.parts import Parts
from hawse.supervisor.reconcile.copies import Copies
from hawse.supervisor.reconcile.recovery import Recovery, recover
from hawse.supervisor.store.upkeep import upkeep


@asynccontextmanager
async def serving(parts: Parts, handlers: Sequence[Handler]) -> AsyncIterator[Engine]:
    """Recover what the last daemon left, then serve until the block ends.  Containers outlive the block.

    Raises Unavailable when the last daemon's containers cannot be taken over.
    """
    journal = parts.store.journal
    with closing(OomNews()) as news:
        async with anyio.create_task_group() as tasks:
            watch = Following(parts, tasks, news).watch
            engine = Engine(parts, handlers, Execs(parts, tasks), watch)
            # Before recovery, which waits for events itself; and the tally counts all of this daemon.
            with journal.subscribe(parts.live.waits.told), journal.subscribe(engine.tally.told):
                await tasks.start(NameServer(parts).run)  # before recovery, whose changes it follows
                await recover(
                    Recovery(
                        parts=parts,
                        volumes=engine.volumes,
                        execs=engine.execs,
                        hooks=engine.hooks,
                        dispatcher=engine.dispatcher,
                        tasks=tasks,
                        watch=watch,
                        carry_through=engine.carry_through,
                    )
                )
                await tasks.start(engine.health.run)  # before handlers start anything: no start may be missed
                await tasks.start(engine.dispatcher.run)
                tasks.start_soon(engine.hooks.run)
                tasks.start_soon(engine.keeper.run)
                tasks.start_soon(engine.lookout.run)
                tasks.start_soon(_keep_store, engine)
                tasks.start_soon(Copies(parts.config.root, parts.store).run)
                yield engine
            tasks.cancel_scope.cancel()


async def _keep_store(engine: Engine) -> None:
    def bounds() -> tuple[int, int]:
        config = engine.parts.config  # in force now: a reload may change it
        return config.journal_max_age, config.journal_max_bytes

    await upkeep(engine.store, bounds, before=engine.dispatcher.write_cursors)
