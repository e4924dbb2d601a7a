"""A container in the foreground, for run, start -a and attach: streams, terminal, signals, and the exit code at the end."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable

from hawse.cli.errors import ApiError, Disconnected, Failure, NoDaemon
from hawse.cli.wire import detach
from hawse.cli.wire.client import Client, quote
from hawse.cli.wire.response import Response
from hawse.cli.wire.signals import SignalQueue, forwardable
from hawse.cli.wire.stream import Stream
from hawse.cli.wire.terminal import RawTerminal, size

_RETURN_DEADLINE = 30.0
"""Seconds that a daemon which went away has to come back and tell the exit code."""


class Foreground:
    """How one container is attached to."""

    def __init__(
        self,
        client: Client,
        container: str,
        *,
        tty: bool,
        streams: frozenset[str],
        detach_keys: str = "",
        sig_proxy: bool = True,
    ) -> None:
        self._client = client
        self._path = f"/containers/{quote(container)}"
        self._tty = tty
        self._streams = streams
        self._keys = detach.parse(detach_keys)
        self._detach_keys = detach_keys
        self._proxy = sig_proxy and not tty

    def run(self, condition: str, start: Callable[[], None] | None = None) -> int | None:
        """Attach, `start`, and stay until it ends; its exit code, None when the user detached.

        Attached and waiting before the start, so that neither a byte nor the exit of a quick program is missed.
        """
        import signal

        watched = [*(forwardable() if self._proxy else ()), *([int(signal.SIGWINCH)] if self._tty else ())]
        with contextlib.ExitStack() as stack:
            signals = stack.enter_context(SignalQueue(watched))
            attached = self._attach()
            stack.callback(attached.sock.close)
            waiting = stack.enter_context(self._client.open("POST", f"{self._path}/wait", {"condition": condition}))
            raw = self._tty and "stdin" in self._streams
            sys.stdout.flush()
            with RawTerminal() if raw else contextlib.nullcontext():
                if start is not None:
                    start()
                if self._tty:
                    self._resize()
                stream = Stream(
                    attached,
                    stdin="stdin" in self._streams,
                    framed=not self._tty,
                    keys=detach.DetachKeys(self._keys) if raw else None,
                    signals=signals,
                    on_signal=self._signalled,
                )
                if not stream.run():
                    return None
            self._linger(waiting, signals)
            return self._exit_code(waiting)

    def _attach(self) -> Response:
        query = {"stream": True, **dict.fromkeys(sorted(self._streams), True)}
        return self._client.hijack(f"{self._path}/attach", query | {"detachKeys": self._detach_keys or None})

    def _signalled(self, number: int) -> None:
        import signal

        if number == signal.SIGWINCH:
            self._resize()
            return
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = str(number)  # a real-time signal without a name
        # It may have ended already; then the signal has nobody to reach.
        with contextlib.suppress(ApiError, NoDaemon, Disconnected):
            self._client.post(f"{self._path}/kill", signal=name)

    def _resize(self) -> None:
        resize(self._client, self._path)

    def _linger(self, waiting: Response, signals: SignalQueue) -> None:
        """The program has closed its streams; until it ends signals still reach it."""
        poller = select.poll()
        poller.register(waiting.sock, select.POLLIN)
        poller.register(signals, select.POLLIN)
        while not waiting.buffer and all(fd != waiting.sock.fileno() for fd, _ in poller.poll()):
            for number in signals.take():
                self._signalled(number)

    def _exit_code(self, waiting: Response) -> int:
        try:
            return status(waiting)
        except Disconnected:
            return exit_code_after_restart(self._client, self._path)


def status(waiting: Response) -> int:
    """The answer of /wait.  Raises Failure when nobody could know the exit code."""
    answer = waiting.json()
    if answer is None:
        raise Disconnected("the daemon closed the connection in the middle of an answer")
    if message := (answer.get("Error") or {}).get("Message"):
        raise Failure(f"error waiting for container: {message}", 125)
    return int(answer["StatusCode"])


def exit_code_after_restart(client: Client, path: str) -> int:
    """The daemon went away while the container ran: ask the next one."""
    deadline = time.monotonic() + _RETURN_DEADLINE
    while True:
        try:
            with client.open("POST", f"{path}/wait", {"condition": "not-running"}) as waiting:
                return status(waiting)
        except (NoDaemon, Disconnected):
            if time.monotonic() > deadline:
                raise Failure(
                    "the daemon went away; the container's exit code will be in `hawse inspect`", 125
                ) from None
            time.sleep(0.05)  # nothing tells when a daemon comes back
        except ApiError as e:
            if e.status != 404:
                raise
            raise Failure(
                "the container ended and was removed while the daemon was away; see `hawse events`", 125
            ) from e


def resize(client: Client, path: str) -> None:
    """Give the terminal of a container or exec the size of ours."""
    if (found := size()) or (found := size(0)):
        # It may have ended already, or not have begun; the next change of the window will do.
        with contextlib.suppress(ApiError, NoDaemon, Disconnected):
            client.post(f"{path}/resize", h=found[0], w=found[1])
