"""Apply a stimulus inside a transaction: the machine decides, the new record and its facts are written together."""

from __future__ import annotations

from hawse.supervisor import machine
from hawse.supervisor.model import Container
from hawse.supervisor.store.tx import Tx


def move(tx: Tx, container: Container, stimulus: machine.Stimulus, now: int) -> Container:
    """The container as it is afterwards.  Raises IllegalTransition, and the transaction with it."""
    step = machine.step(container, stimulus, now)
    tx.put(step.container)
    for fact in step.facts:
        tx.append(fact)
    return step.container
