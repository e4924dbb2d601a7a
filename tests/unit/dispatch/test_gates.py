"""Gates: asked in order within a transition, which they may change or refuse."""

from __future__ import annotations

import anyio
import pytest

from hawse.supervisor.core import events
from hawse.supervisor.core.errors import Conflict, HawseError, UserError
from hawse.supervisor.dispatch.dispatcher import Dispatcher
from hawse.supervisor.dispatch.handler import Handler
from tests.unit.dispatch.lab import CONTEXT, durable, lab

__all__ = ["lab"]  # a fixture


def gate(handle, name="g", **options):
    return Handler(name=name, types=("pre-start",), mode="gate", handle=handle, **options)


async def test_gates_are_asked_in_order_and_may_change_the_question(lab, samples):
    asked = []

    def ask(name, answer=None):
        async def handle(question, context):
            asked.append((name, question.container.name, context))
            return answer

        return gate(handle, name)

    changed = events.PreStart(container=samples.container(2))
    dispatcher = Dispatcher(lab.store, [ask("a"), ask("b", changed), ask("c")], CONTEXT)
    assert await dispatcher.gate(events.PreStart(container=samples.container(1))) == changed
    assert asked == [("a", "c1", CONTEXT), ("b", "c1", CONTEXT), ("c", "c2", CONTEXT)]
    other = events.PreStop(container=samples.container(1))
    assert await dispatcher.gate(other) == other
    assert len(asked) == 3


async def test_a_gate_refuses_by_raising_and_the_rest_is_not_asked(lab, samples):
    async def refuse(question, _):
        raise UserError("not today")

    async def never(question, _):
        raise AssertionError

    dispatcher = Dispatcher(lab.store, [gate(refuse, "a"), gate(never, "b")], CONTEXT)
    with pytest.raises(UserError, match="not today"):
        await dispatcher.gate(events.PreStart(container=samples.container(1)))


async def test_a_gate_that_hangs_fails_the_transition(lab, samples):
    async def hang(question, _):
        await anyio.sleep_forever()

    dispatcher = Dispatcher(lab.store, [gate(hang, deadline=0.01)], CONTEXT)
    with pytest.raises(HawseError, match=r"handler g gave no answer to pre-start in 0\.01 s"):
        await dispatcher.gate(events.PreStart(container=samples.container(1)))


async def test_names_are_unique_across_modes(lab):
    async def handle(event, _):
        pass

    with pytest.raises(Conflict):
        Dispatcher(lab.store, [gate(handle, "x"), durable(handle, "x")], CONTEXT)
