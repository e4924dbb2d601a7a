from __future__ import annotations

import asyncio
import socket

from hawse.supervisor.runtime.channel import Channel
from hawse.supervisor.shim import protocol


async def test_the_last_words_of_a_peer_that_left_something_unread() -> None:
    """The kernel tells of what was unread first, as a reset, and then gives what the peer had said."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    said: list[str] = []
    lost = asyncio.Event()
    channel = Channel(ours, "the peer", lambda message, fds: said.append(message["ev"]), lost.set)
    await channel.post({"op": "never read"})
    protocol.send(theirs, {"ev": "failed"})
    theirs.close()
    await asyncio.wait_for(lost.wait(), 60)
    assert said == ["failed"]
