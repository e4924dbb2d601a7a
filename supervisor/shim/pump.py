"""Moves a program's bytes: its output to the log and to the attached clients, their input to it.  Stdlib only.

Back-pressure, not loss: while a client is behind, the program's output is not read, so its writes wait (as with docker).
The same for input: while the program does not read, neither is the client read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial

from hawse.supervisor.shim import terminal
from hawse.supervisor.shim.attached import CHUNK, HIGH_WATER, Callbacks, Client, Wishes, replay
from hawse.supervisor.shim.logwriter import LogWriter
from hawse.supervisor.shim.loop import READ, WRITE, Loop, Timer

PAUSE = 0.2
"""Seconds of silence after which an unfinished line goes to the log."""


PIPE_CHUNKS = 32
"""More than a pipe can hold by default (pipe(7): at most 1 MiB)."""


class Pump:
    """One program's streams.  `log` None: the output, as an exec's, is for its clients only."""

    def __init__(self, loop: Loop, log: LogWriter | None, *, tty: bool, close_stdin: bool) -> None:
        """`close_stdin`: the program's input ends when a client's does (docker's StdinOnce)."""
        self._loop, self._log, self._tty, self._close_stdin = loop, log, tty, close_stdin
        self._log_path = log.path if log is not None else ""
        self._outputs: dict[int, str] = {}
        self._input = -1
        self._expects_input = True
        self._typed = bytearray()
        self._input_ending = False
        self._clients: list[Client] = []
        self._flush_timer: Timer | None = None
        self._draining: Callable[[], None] | None = None
        self._size: tuple[int, int] | None = None
        self._finished = False

    def open(self, fds: list[int]) -> None:
        """The shim's ends: [master] of a terminal, or [stdout, stderr] and perhaps stdin."""
        for fd in fds:
            os.set_blocking(fd, False)
        if self._tty:
            self._outputs = {fds[0]: "stdout"}
            self._input = os.dup(fds[0])  # watched on its own
            if self._size:
                terminal.resize(fds[0], *self._size)
        else:
            self._outputs = {fds[0]: "stdout", fds[1]: "stderr"}
            self._input = fds[2] if len(fds) > 2 else -1
        self._expects_input = self._input >= 0
        self._watch_outputs()
        self._write_input()

    def attach(self, fd: int, wishes: Wishes, prefix: bytes, *, logs: bool) -> None:
        """Take over a client's socket."""
        backlog: Iterator[tuple[str, bytes]] = iter(())
        if logs and self._log_path:
            self._flush_log()
            backlog = replay(self._log_path)
        calls = Callbacks(
            on_input=self._on_input,
            on_input_end=self._on_input_end,
            on_caught_up=self._watch_outputs,
            on_gone=self._on_gone,
        )
        client = Client(self._loop, fd, wishes, calls, backlog, prefix)
        if client.is_open:
            self._clients.append(client)
            self._pace_input()
            if self._finished:
                client.finish()
        self._watch_outputs()

    def resize(self, rows: int, cols: int) -> None:
        """Also before there is a terminal: it gets that size at once when it comes."""
        self._size = (rows, cols)
        if self._tty and self._outputs:
            terminal.resize(next(iter(self._outputs)), rows, cols)

    def drain(self, limit: float, done: Callable[[], None]) -> None:
        """The program has ended: read what it left, then call `done`.

        At most `limit` seconds, in case some process elsewhere was passed the write end and holds it.
        """
        self._draining = done
        for fd in list(self._outputs):
            self._on_output(fd)
        if self._outputs:
            self._watch_outputs()
            self._loop.later(limit, self._drained)
        else:
            self._drained()

    def say(self, stream: str, data: bytes) -> None:
        """To the attached clients, as if the program had written it."""
        self._deliver(stream, data)

    def finish(self) -> None:
        """No more output: tell the clients, as soon as they have read everything."""
        self._finished = True
        if self._log is not None:
            self._log.close()
            self._log = None
        self._close_input()
        for client in list(self._clients):
            client.finish()

    def _is_a_client_behind(self) -> bool:
        for client in self._clients:  # noqa: SIM110  any() wants a generator, which is a function made anew each time
            if client.is_behind:
                return True
        return False

    def _watch_outputs(self) -> None:
        """Read the program's output unless a client is behind; at the end read regardless, it is not much any more."""
        events = READ if self._draining or not self._is_a_client_behind() else 0
        for fd in self._outputs:
            if events:
                self._loop.watch(fd, events, partial(self._on_output, fd))
            else:
                # Not watched at all: a hang-up cannot be masked, and would wake the loop for ever.
                self._loop.forget(fd)

    def _on_output(self, fd: int, _events: int = READ) -> None:
        # One piece a turn, so that clients and the other stream have theirs; at the end everything that a pipe holds.
        for _ in range(PIPE_CHUNKS if self._draining else 1):
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.EIO:  # EIO: nobody has the terminal open any more
                    raise
                data = b""
            if not data:
                self._end_output(fd)
                return
            self._deliver(self._outputs[fd], data)

    def _end_output(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)
        del self._outputs[fd]
        if self._draining and not self._outputs:
            self._drained()

    def _deliver(self, stream: str, data: bytes) -> None:
        if self._log is not None:
            self._log.write(stream, data)
            if self._log.has_partial and self._flush_timer is None:
                self._flush_timer = self._loop.later(PAUSE, self._flush_log)
        for client in list(self._clients):
            client.feed(stream, data)
        if self._is_a_client_behind():
            self._watch_outputs()

    def _flush_log(self) -> None:
        self._flush_timer = None
        if self._log is not None:
            self._log.flush_partial()

    def _drained(self) -> None:
        done, self._draining = self._draining, None
        for fd in list(self._outputs):
            self._end_output(fd)
        if done is not None:
            done()

    def _on_input(self, data: bytes) -> None:
        if self._expects_input and not self._input_ending:
            self._typed += data
            self._write_input()

    def _on_input_end(self) -> None:
        if self._close_stdin and not self._tty:
            self._input_ending = True
            self._write_input()

    def _write_input(self) -> None:
        if self._input < 0:
            if not self._expects_input:
                self._typed.clear()
            self._pace_input()
            return
        while self._typed:
            try:
                taken = os.write(self._input, self._typed)
            except BlockingIOError:
                self._loop.watch(self._input, WRITE, lambda _: self._write_input())
                self._pace_input()
                return
            except OSError:  # the program has closed its input: the rest is of no use
                self._typed.clear()
                self._close_input()
                break
            del self._typed[:taken]
        if self._input >= 0:
            self._loop.forget(self._input)
        if self._input_ending:
            self._close_input()
        self._pace_input()

    def _pace_input(self) -> None:
        for client in self._clients:
            client.pause_input(len(self._typed) > HIGH_WATER)

    def _close_input(self) -> None:
        self._expects_input = False
        self._typed.clear()
        if self._input >= 0:
            self._loop.forget(self._input)
            os.close(self._input)
            self._input = -1

    def _on_gone(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
        if client.wishes.stdin:
            self._on_input_end()
        self._watch_outputs()
