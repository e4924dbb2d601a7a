"""The five fields that a container's record had for what is now its wish.

Readers of events and of /hawse/v1 know them, so they are shown on; what was written before them has nothing else.

    shown     a record as readers get it, with both
    wish_in   what the five fields said
    renewed   a record, as JSON, of whichever time
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hawse.supervisor.core.model import Container, Verb, Wish

NAMES: Final = ("stopped_by_user", "ended_by", "end_signal", "end_grace", "drops_volumes")


class Shown(Container, frozen=True, kw_only=True):
    """A container as events and the native API have it: fields are added there, never renamed or removed."""

    stopped_by_user: bool = False
    ended_by: str = ""
    end_signal: int = 0
    end_grace: int = -1
    drops_volumes: bool = False


def shown(container: Container) -> Shown:
    record = {name: getattr(container, name) for name in Container.__struct_fields__}
    if (wish := container.wish) is None:
        return Shown(**record)
    if wish.verb is Verb.REMOVE and not wish.signal:  # of what had ended: the other fields tell how a run is ended
        return Shown(**record, drops_volumes=wish.volumes)
    return Shown(
        **record,
        stopped_by_user=container.is_stopped_by_user,
        ended_by=wish.verb.value,
        end_signal=wish.signal,
        end_grace=wish.grace,
        drops_volumes=wish.volumes,
    )


def wish_in(record: Mapping[str, Any]) -> Wish | None:
    """Read a record, decoded, that was written with the five fields.  Raises ValueError for a verb that never was one."""
    verb, by_user = record.get("ended_by", ""), record.get("stopped_by_user", False)
    if record.get("drops_volumes"):
        return Wish(verb=Verb.REMOVE, signal=record.get("end_signal", 0) if verb == Verb.REMOVE else 0, volumes=True)
    if by_user and verb in ("", Verb.SHUTDOWN):
        verb = Verb.STOP  # what called a waiting restart off left no verb; a user's wish outranks the engine's end
    if not verb or not (by_user or verb in (Verb.RESTART, Verb.SHUTDOWN)):
        return None  # a stop that a policy has since passed over
    return Wish(verb=Verb(verb), signal=record.get("end_signal", 0), grace=record.get("end_grace", -1))


def renew(record: dict[str, Any]) -> None:
    """Put the wish in the place of the five fields.  One that has it already stays as it is."""
    if "wish" not in record:
        record["wish"] = msgspec.to_builtins(wish_in(record))
        for name in NAMES:
            record.pop(name, None)


def renewed(text: str) -> str:
    """A row of the database, for the migration."""
    record = msgspec.json.decode(text)
    renew(record)
    return msgspec.json.encode(record).decode()
