"""One attached client: a stream socket that was handed over with its HTTP exchange done.  Stdlib only.

Output is queued for it without limit here; it is the pump that stops reading the program when a client `is_behind`.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hawse.supervisor.shim.loop import HANGUP, READ, WRITE, Loop
from hawse.supervisor.shim.terminal import DetachScanner

HIGH_WATER = 256 * 1024
CHUNK = 64 * 1024
STALL_LIMIT = 300.0
"""Seconds after which a client that takes nothing is let go, so that the program can go on."""
SO_SNDBUFFORCE = 32
_STREAM_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a client asked for; `keys` is the parsed detach sequence."""

    stdin: bool
    stdout: bool
    stderr: bool
    framed: bool
    keys: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """How a client tells its pump: input came, input ended, it has caught up, it is gone (said once)."""

    on_input: Callable[[bytes], None]
    on_input_end: Callable[[], None]
    on_caught_up: Callable[[], None]
    on_gone: Callable[[Client], None]


class Client:
    def __init__(
        self, loop: Loop, fd: int, wishes: Wishes, calls: Callbacks, backlog: Iterator[tuple[str, bytes]], prefix: bytes
    ) -> None:
        self._loop, self._calls, self.wishes = loop, calls, wishes
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._out = bytearray()
        self._backlog: Iterator[tuple[str, bytes]] | None = backlog
        self._scanner = DetachScanner(wishes.keys)
        self._reading = True
        self._input_ended = False
        self._finishing = False
        self._taken = 0  # bytes that the client has taken in all, to see whether it takes any
        self.is_open = True
        if prefix:
            self._take_input(prefix)
        self._flush()

    @property
    def is_behind(self) -> bool:
        return self._backlog is not None or len(self._out) > HIGH_WATER

    def feed(self, stream: str, data: bytes) -> None:
        if not self.is_open or not (self.wishes.stderr if stream == "stderr" else self.wishes.stdout):
            return
        was_behind = self.is_behind
        if self._backlog is not None:
            self._backlog = itertools.chain(self._backlog, [(stream, data)])
        else:
            self._queue(stream, data)
        self._flush()
        if self.is_open and self.is_behind and not was_behind:
            self._watch_stall()

    def pause_input(self, paused: bool) -> None:
        """While the program does not take what was typed."""
        if self._reading == paused:
            self._reading = not paused
            self._watch()

    def finish(self) -> None:
        """Nothing more will come: close as soon as all is written."""
        self._finishing = True
        if self._out:
            # What the kernel holds needs no shim to be delivered.
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * len(self._out))
            except OSError:
                pass
        self._flush()

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._loop.forget(self._socket.fileno())
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._calls.on_gone(self)

    def _queue(self, stream: str, data: bytes) -> None:
        if self.wishes.framed:
            self._out += struct.pack(">BxxxL", _STREAM_NUMBERS[stream], len(data))
        self._out += data

    def _flush(self) -> None:
        """Write what the socket takes now, pulling from the backlog as there is room."""
        was_behind = self.is_behind
        while self.is_open:
            while self._backlog is not None and len(self._out) < CHUNK:
                entry = next(self._backlog, None)
                if entry is None:
                    self._backlog = None
                elif self.wishes.stderr if entry[0] == "stderr" else self.wishes.stdout:
                    self._queue(*entry)
            if not self._out:
                break
            try:
                taken = self._socket.send(self._out, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            del self._out[:taken]
            self._taken += taken
        if not self.is_open:
            return
        if self._finishing and not self._out:
            self.close()
            return
        self._watch()
        if was_behind and not self.is_behind:
            self._calls.on_caught_up()

    def _watch(self) -> None:
        if self.is_open:
            events = (READ if self._reading and not self._input_ended else 0) | (WRITE if self._out else 0)
            self._loop.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & (READ | HANGUP):
            self._receive()
        if self.is_open and events & WRITE:
            self._flush()
        if self.is_open and events & HANGUP:
            self.close()

    def _receive(self) -> None:
        while self.is_open and self._reading and not self._input_ended:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if not data:
                self._input_ended = True
                self._watch()
                if self.wishes.stdin:
                    self._calls.on_input_end()
                return
            self._take_input(data)

    def _take_input(self, data: bytes) -> None:
        if not self.wishes.stdin:
            return
        typed, detached = self._scanner.feed(data)
        if typed:
            self._calls.on_input(typed)
        if detached:
            self.close()

    def _watch_stall(self) -> None:
        before = self._taken

        def check() -> None:
            if self.is_open and self.is_behind:
                if self._taken == before:
                    self.close()
                else:
                    self._watch_stall()

        self._loop.later(STALL_LIMIT, check)


def replay(path: str) -> Iterator[tuple[str, bytes]]:
    """Read what a log holds at this moment, oldest first, as (stream, bytes).

    The files are opened now: a rotation while a slow client reads takes nothing away from it.
    """
    files: list[tuple[BinaryIO, int]] = []
    while True:
        try:
            file = open(f"{path}.{len(files)}" if files else path, "rb")  # noqa: SIM115 - closed as it is exhausted
        except FileNotFoundError:
            break
        files.append((file, os.fstat(file.fileno()).st_size))
    return _entries(files)


def _entries(files: list[tuple[BinaryIO, int]]) -> Iterator[tuple[str, bytes]]:
    for file, size in reversed(files):
        with file:
            while size > 0 and (line := file.readline()):
                size -= len(line)
                parts = line.split(b" ", 3)
                if len(parts) == 4:
                    yield parts[1].decode(), parts[3] if parts[2] == b"F" else parts[3][:-1]
