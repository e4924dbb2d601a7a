"""Apply a stimulus inside a transaction: the machine decides, the new record and its facts are written together."""

from __future__ import annotations

from hawse.supervisor import machine
from hawse.supervisor.model import Container
from hawse.supervisor.store.tx import Tx


def move(tx: Tx, container: Container, stimulus: machine.Stimulus, now: int, *, cause: str | None = None) -> Container:
    """The container as it is afterwards.  The first of several facts is the cause of the others.

    Raises IllegalTransition, and the transaction with it.
    """
    step = machine.step(container, stimulus, now)
    tx.put(step.container)
    for fact in step.facts:
        event = tx.append(fact, cause)
        cause = event.id
    return step.container
