"""The loop between this process's standard streams and a hijacked connection.

One poll loop, no threads: bytes wait in bounded buffers, and whoever does not take his stops only the side that feeds him.
Standard streams stay blocking (their file description belongs to the shell as well), so they are written in pieces of
PIPE_BUF once poll says that such a piece fits.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable

from hawse.cli.wire.detach import DetachKeys
from hawse.cli.wire.response import Response
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hawse.cli.wire.signals import SignalQueue

_LIMIT = 256 * 1024
_CHUNK = 64 * 1024
_GONE = select.POLLERR | select.POLLNVAL


class Stream:
    """One attached program.  `run` returns when its output has ended, or the user detached."""

    def __init__(
        self,
        response: Response,
        *,
        stdin: bool,
        framed: bool,
        keys: DetachKeys | None = None,
        signals: SignalQueue | None = None,
        on_signal: Callable[[int], None] | None = None,
    ) -> None:
        self._sock = response.sock
        self._sock.setblocking(False)
        self._framed = framed
        self._incoming = bytearray()  # frames that are not complete yet
        self._output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self._pieces = {fd: _piece(fd) for fd in self._output}
        self._to_program = bytearray()
        self._stdin_open = stdin
        self._sending = True  # our half of the connection is open
        self._receiving = True
        self._keys = keys
        self._signals = signals
        self._on_signal = on_signal
        self.detached = False
        self._take(bytes(response.buffer))
        response.buffer.clear()

    def run(self) -> bool:
        """True: it ended.  False: the user detached.  Raises BrokenPipeError when our own output is closed."""
        while not self.detached and (self._receiving or any(self._output.values())):
            for fd, events in self._poll():
                if fd == self._sock.fileno():
                    self._serve_socket(events)
                elif fd in self._output and events & (select.POLLOUT | select.POLLHUP | _GONE):
                    self._write(fd)
                elif fd == 0:
                    self._read_stdin()
                elif self._signals is not None and fd == self._signals.fileno():
                    for number in self._signals.take():
                        assert self._on_signal is not None
                        self._on_signal(number)
        self._sock.close()
        return not self.detached

    def _poll(self) -> list[tuple[int, int]]:
        poller = select.poll()
        wanted = 0
        if self._receiving and all(len(waiting) < _LIMIT for waiting in self._output.values()):
            wanted |= select.POLLIN
        if self._sending and self._to_program:
            wanted |= select.POLLOUT
        if wanted:
            poller.register(self._sock, wanted)
        for fd, waiting in self._output.items():
            if waiting:
                poller.register(fd, select.POLLOUT)
        if self._stdin_open and self._receiving and len(self._to_program) < _LIMIT:
            poller.register(0, select.POLLIN)
        if self._signals is not None:
            poller.register(self._signals, select.POLLIN)
        return poller.poll()

    def _serve_socket(self, events: int) -> None:
        if events & select.POLLOUT:
            self._send()
        if events & (select.POLLIN | select.POLLHUP | _GONE):
            try:
                data = self._sock.recv(_CHUNK)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if data:
                self._take(data)
            else:
                self._receiving = False

    def _take(self, data: bytes) -> None:
        if not self._framed:
            self._output[1] += data
            return
        self._incoming += data
        for stream, payload in wire.split_frames(self._incoming):
            self._output[2 if stream == wire.STDERR else 1] += payload

    def _write(self, fd: int) -> None:
        waiting = self._output[fd]
        try:
            del waiting[: os.write(fd, waiting[: self._pieces[fd]])]
        except OSError as e:
            if e.errno != errno.EBADF:
                raise
            waiting.clear()  # we were started with this stream closed

    def _read_stdin(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            data = b""  # closed, or a terminal that hung up
        if self._keys is not None and data:
            data, self.detached = self._keys.feed(data)
            if not data:
                return
        if not data:
            self._stdin_open = False
        self._to_program += data
        self._send()

    def _send(self) -> None:
        """Send as much as the connection takes; after the last of it, the end of file."""
        if not self._sending:
            self._to_program.clear()
            return
        try:
            while self._to_program:
                del self._to_program[: self._sock.send(self._to_program)]
            if not self._stdin_open:
                self._sending = False
                self._sock.shutdown(1)
        except BlockingIOError:
            pass
        except OSError:  # the program takes no more input; its output may go on
            self._sending = self._stdin_open = False
            self._to_program.clear()


def _piece(fd: int) -> int:
    """Return how much can be written at once without waiting, after poll says that something can."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return _CHUNK
    return _CHUNK if stat.S_ISREG(mode) else select.PIPE_BUF
