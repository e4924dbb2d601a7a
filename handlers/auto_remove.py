"""`--rm`: remove a container that has ended, after its cables are out."""

from __future__ import annotations

from hawse.supervisor import faults
from hawse.supervisor.core import events
from hawse.supervisor.core.events import Event
from hawse.supervisor.dispatch.handler import Handler
from hawse.supervisor.parts import Context


async def handle(event: Event, ctx: Context) -> None:
    assert isinstance(event.fact, events.ContainerFact)
    if event.fact.container.config.auto_remove:
        faults.point("auto-remove.due")
        await ctx.engine.remove_ended(event.fact.container.id)
        faults.point("auto-remove.done")


HANDLER = Handler(
    name="auto_remove",
    types=(events.ContainerExited.TYPE, events.ContainerStartFailed.TYPE),
    mode="durable",
    handle=handle,
    deadline=60.0,
    builtin=True,
)
