"""Who drives the handlers: gates are asked here, durable ones each have a courier (courier.py)."""

from __future__ import annotations

import random as randomness
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio
import anyio.abc
import structlog

from hawse.supervisor.core.errors import Conflict, Forbidden, HawseError, NotFound
from hawse.supervisor.core.events import Question
from hawse.supervisor.dispatch.courier import Courier, describe
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.parts import Context
from hawse.supervisor.store.store import Store

Q = TypeVar("Q", bound=Question)

log = structlog.get_logger()


class Dispatcher:
    """`run` drives the durable handlers until it is cancelled.  A handler new to the store begins with the events that
    are committed after the dispatcher was made (or after `from_cursor`)."""

    def __init__(
        self,
        store: Store,
        handlers: Iterable[Handler],
        context: Context,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._store = store
        self._context = context
        self._sleep = sleep
        self._random = random
        self._gates: list[Handler] = []
        self._couriers: dict[str, Courier] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        for handler in handlers:
            self._register(handler, store.journal.head)

    def _register(self, handler: Handler, after: int) -> None:
        if handler.name in self._couriers or any(gate.name == handler.name for gate in self._gates):
            raise Conflict(f"there already is a handler named {handler.name}")
        if handler.mode == "gate":
            self._gates.append(handler)
            self._gates.sort(key=lambda gate: (gate.builtin, gate.order))
        else:
            self._couriers[handler.name] = Courier(
                handler, self._store, self._context, after=after, sleep=self._sleep, random=self._random
            )

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take up where the last run stopped.  `started` is reported when every handler is registered in the store."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                for courier in tuple(self._couriers.values()):
                    await courier.begin()
                    tasks.start_soon(courier.run)
                task_status.started()
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    async def add(self, handler: Handler, from_cursor: str | None = None) -> None:
        """Register a handler while running; one that the store knows goes on where it stopped.

        Raises Conflict for a name that is taken, UserError or Gone for a bad cursor.
        """
        journal = self._store.journal
        self._register(handler, journal.head if from_cursor is None else journal.parse(from_cursor))
        if self._tasks and handler.mode == "durable":
            courier = self._couriers[handler.name]
            await courier.begin()
            self._tasks.start_soon(courier.run)

    async def remove(self, name: str, *, forget: bool = True) -> None:
        """Stop a handler now; `forget` its cursor and what it left undone, too.  Gone is success."""
        self._gates = [gate for gate in self._gates if gate.name != name]
        if courier := self._couriers.pop(name, None):
            await courier.stop()
        if forget:
            await self._store.transact(lambda tx: tx.delete_handler(name))

    async def gate(self, question: Q) -> Q:
        """Ask every gate that wants this question, in order; the question as the gates left it.

        Raises what a gate raised; HawseError when one gave no answer in time.
        """
        for handler in self._gates:
            if not handler.wants(question.TYPE):
                continue
            with anyio.move_on_after(handler.deadline) as scope:
                try:
                    question = await handler.handle(question, self._context) or question
                except HawseError:
                    raise
                except (Exception, SystemExit) as e:
                    if handler.builtin:
                        raise
                    log.warning("gate_failed", handler=handler.name, subject=question.subject, exc_info=True)
                    raise Forbidden(f"{question.TYPE} handler {handler.name} failed: {describe(e)}") from e
            if scope.cancelled_caught:
                raise HawseError(f"handler {handler.name} gave no answer to {question.TYPE} in {handler.deadline:g} s")
        return question

    async def wait_done(self, name: str, seq: int) -> None:
        """Wait until that handler has dealt with the event (or given it up, or never wanted it)."""
        await self._courier(name).ledger.wait_done(seq)

    async def retry(self, name: str, seq: int) -> None:
        """Deliver a dead letter once more, with all its attempts.  Raises NotFound."""
        await self._courier(name).retry(seq)

    async def orphans(self) -> list[str]:
        """Handlers that the store knows and nobody registered: they hold back pruning until they return or are removed."""
        known = await self._store.read(lambda tx: tx.handler_cursors())
        return sorted(known.keys() - self._couriers.keys())

    def write_cursors(self) -> None:
        """Have those written soon that stand behind only because nothing was wanted: pruning waits for them."""
        for courier in self._couriers.values():
            courier.ledger.write_soon()

    def lag(self) -> dict[str, int]:
        """Handler → how many events it is behind, those it has yet to look at included."""
        head = self._store.journal.head
        return {name: courier.ledger.lag(head) for name, courier in self._couriers.items()}

    def _courier(self, name: str) -> Courier:
        try:
            return self._couriers[name]
        except KeyError:
            raise NotFound(f"no durable handler named {name}") from None
