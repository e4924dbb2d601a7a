"""`run --on EVENT=COMMAND`: hooks that one container brings with it.

They are part of the request that made the container, never of its image or labels, and run as root on the host through
`/bin/sh -c`: who may ask the daemon for a container is root already.  All of them share a durable handler and a gate.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from hawse.supervisor.core.eventnames import GATES, event_types
from hawse.supervisor.core.events import ContainerFact, Event, Question
from hawse.supervisor.dispatch.handler import GiveUp, Handler
from hawse.supervisor.hooks.hook import GATE_TIMEOUT, TIMEOUT, Hook
from hawse.supervisor.hooks.runner import SLACK, Failed, Runner
from hawse.supervisor.parts import Context

NAME = "run--on"
_SHELL = Path("/bin/sh")


def handlers(runner: Runner) -> tuple[Handler, Handler]:
    async def deliver(event: Event, ctx: Context) -> None:
        failures: list[Exception] = []
        for hook in _hooks(event.fact, event.type):
            try:
                await runner.deliver(hook, event)
            except (Failed, GiveUp) as e:
                failures.append(e)
        if failures:
            raise next((e for e in failures if isinstance(e, Failed)), failures[0])

    async def ask(question: Question, ctx: Context) -> Question:
        for hook in _hooks(question, question.TYPE):
            question = await runner.ask(hook, question) or question
        return question

    return (
        Handler(
            name=f"hook:{NAME}",
            types=("container.*", "network.*connected"),
            mode="durable",
            handle=deliver,
            deadline=10 * TIMEOUT,
        ),
        Handler(
            name=f"hook:{NAME}:gates",
            types=GATES,
            mode="gate",
            handle=ask,
            deadline=3 * GATE_TIMEOUT + SLACK,
            order="~",
        ),
    )


def _hooks(fact: object, type_: str) -> list[Hook]:
    """Return what the container brought for this event."""
    if not isinstance(fact, ContainerFact):
        return []
    found = []
    for own in fact.container.config.hooks:
        types, gate = event_types(own.event)
        if fnmatchcase(type_, types[0]):
            found.append(
                Hook(
                    name=NAME,
                    path=_SHELL,
                    types=types,
                    gate=gate,
                    command=(str(_SHELL), "-c", own.command, "sh"),
                    timeout=GATE_TIMEOUT if gate else TIMEOUT,
                )
            )
    return found
