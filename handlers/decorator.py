"""`@on(...)`: makes an async function a handler, exactly as the built-in ones are.

    from hawse.handlers import on

    @on("container.exited")
    async def tell(event, ctx): ...            # durable: event is hawse.supervisor.core.events.Event

    @on("pre-start", deadline=5)
    async def ask(question, ctx): ...          # a gate: raise to refuse, return a changed question or None

Functions in an installed package are found by the entry-point group `hawse.handlers`, others in files of handlers.d.  They
run in the daemon's event loop: an `await` can be cut off at the deadline, a call that blocks cannot, and stops the daemon
meanwhile.  Use anyio.to_thread for those.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.eventnames import event_types
from hawse.supervisor.dispatch.handler import Handler


def on(
    *events: str, name: str = "", deadline: float = 30.0, attempts: int = 5, concurrency: int = 32
) -> Callable[[Callable[[Any, Any], Awaitable[Any]]], Handler]:
    """The handler is named after its module and function, which its cursor is kept by.  Raises UserError."""
    if not events:
        raise UserError("on() needs at least one event")
    kinds = [event_types(event) for event in events]
    if len({gate for _, gate in kinds}) > 1:
        raise UserError("a handler is either for pre-* or for other events: make two")

    def decorate(function: Callable[[Any, Any], Awaitable[Any]]) -> Handler:
        if not inspect.iscoroutinefunction(function):
            raise UserError(f"{function.__qualname__} must be an async function")
        return Handler(
            name=f"py:{name or f'{function.__module__}.{function.__qualname__}'}",
            types=tuple(type_ for types, _ in kinds for type_ in types),
            mode="gate" if kinds[0][1] else "durable",
            handle=function,
            deadline=deadline,
            attempts=attempts,
            concurrency=concurrency,
        )

    return decorate
