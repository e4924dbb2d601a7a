"""Stored events as the lines that readers get: CloudEvents 1.0, composed around JSON that is already there.

A reader a million events behind costs what copying costs: nothing is decoded and encoded again.  `events.cloudevent` gives
the same document as a dictionary; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from hawse.supervisor.core.stored import Stored
from hawse.supervisor.store.epochs import Epochs


def composer(epochs: Epochs, node: str) -> Callable[[Stored], bytes]:
    """A function from a stored event to its document, without a line's end."""
    source = json.dumps(f"/node/{node}")

    def compose(row: Stored) -> bytes:
        epoch = epochs.of(row.seq)
        seconds, rest = divmod(row.time, 1_000_000_000)
        head = (
            f'{{"specversion":"1.0","id":"{epoch}-{row.seq}","source":{source},"type":"{row.type}",'
            f'"subject":{json.dumps(row.subject)},"time":"{_second(seconds)}.{rest:09}Z",'
            f'"datacontenttype":"application/json","seq":{row.seq},"epoch":"{epoch}","cause":"{row.cause}","data":'
        )
        return b"%b%b}" % (head.encode(), row.body)

    return compose


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
