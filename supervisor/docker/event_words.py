"""Docker's words for what the journal tells: `die` for container.exited.  Pure.

The one table of them, read both ways: for `GET /events`, which shows facts in these words, and for the journal's own filter
`event=die`, which looks for facts by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import Fact
from hawse.supervisor.core.model import Verb

Condition = Callable[[Any], bool]


def _always(fact: Fact) -> bool:
    return True


def _mounts_volumes(fact: facts.ContainerFact) -> bool:
    return any(mount.type == "volume" for mount in fact.container.config.mounts)


def _was_restarted(fact: facts.ContainerStarted) -> bool:
    return fact.restarted


def _was_stopped(fact: facts.ContainerExited) -> bool:
    return fact.container.is_asked_to(Verb.STOP) or fact.container.is_asked_to(Verb.RESTART)


def _was_imported(fact: facts.ImageCreated) -> bool:
    return (
        not fact.image.parent and not fact.image.manifest
    )  # a commit is told of its container, a pull by its own word


WORDS: dict[type[Fact], dict[str, Condition]] = {
    facts.ContainerCreated: {"create": _always},
    facts.ContainerStarted: {"mount": _mounts_volumes, "start": _always, "restart": _was_restarted},
    facts.ContainerExited: {"die": _always, "unmount": _mounts_volumes, "stop": _was_stopped},
    facts.ContainerOom: {"oom": _always},
    facts.ContainerPaused: {"pause": _always},
    facts.ContainerResumed: {"unpause": _always},
    facts.ContainerKilled: {"kill": _always},
    facts.ContainerHealthChanged: {"health_status": _always},
    facts.ContainerRenamed: {"rename": _always},
    facts.ContainerUpdated: {"update": _always},
    facts.ContainerCommitted: {"commit": _always},
    facts.ContainerRemoved: {"destroy": _always},
    facts.ExecStarted: {"exec_create": _always, "exec_start": _always},
    facts.ExecEnded: {"exec_die": _always},
    facts.NetworkCreated: {"create": _always},
    facts.NetworkRemoved: {"destroy": _always},
    facts.NetworkConnected: {"connect": _always},
    facts.NetworkDisconnected: {"disconnect": _always},
    facts.ImageCreated: {"import": _was_imported},
    facts.ImagePulled: {"pull": _always},
    facts.ImageTagged: {"tag": _always},
    facts.ImageUntagged: {"untag": _always},
    facts.ImageRemoved: {"delete": _always},
    facts.VolumeCreated: {"create": _always},
    facts.VolumeRemoved: {"destroy": _always},
    # docker has no word for these
    facts.ContainerRestarting: {},
    facts.ContainerStartFailed: {},
    facts.ContainerQuarantined: {},
    facts.NetworkObstructed: {},
    facts.NetworkCleared: {},
    facts.NetworkLeft: {},
    facts.NetworkPublished: {},
    facts.NetworkPortTaken: {},
    facts.NetworkRepaired: {},
    facts.HookSucceeded: {},
    facts.HookFailed: {},
    facts.HookDead: {},
    facts.DaemonStarted: {},
    facts.DaemonRecovered: {},
}
"""Fact → the words for it, in the order in which docker tells them, each with when it is told.  All facts are here."""
ALL_WORDS = tuple(sorted({word for words in WORDS.values() for word in words}))


def words(fact: Fact) -> list[str]:
    """Return what docker says of the fact, in order; nothing of what it does not have."""
    return [word for word, condition in WORDS[type(fact)].items() if condition(fact)]


def types(word: str) -> frozenset[str]:
    """Return the wire types of the facts for which docker may have that word."""
    return frozenset(fact.TYPE for fact, found in WORDS.items() if word in found)


def is_conditional(word: str) -> bool:
    """Tell whether the type of a fact is not enough to know that docker has that word for it."""
    return any(found.get(word, _always) is not _always for found in WORDS.values())
