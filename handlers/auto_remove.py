"""`--rm`: remove a container that has ended, after its cables are out."""

from __future__ import annotations

from hawse.supervisor import events, faults
from hawse.supervisor.dispatch.dispatcher import Handler
from hawse.supervisor.errors import NotFound
from hawse.supervisor.events import Event
from hawse.supervisor.parts import Context


async def handle(event: Event, ctx: Context) -> None:
    assert isinstance(event.fact, events.ContainerFact)
    if event.fact.container.config.auto_remove:
        faults.point("auto-remove.due")
        try:
            await ctx.engine.remove(event.fact.container.id, volumes=True, by_engine=True)
        except NotFound:
            return  # a second run, or somebody was quicker
        faults.point("auto-remove.done")


HANDLER = Handler(
    name="auto_remove",
    types=(events.ContainerExited.TYPE, events.ContainerStartFailed.TYPE),
    mode="durable",
    handle=handle,
    deadline=60.0,
    builtin=True,
)
