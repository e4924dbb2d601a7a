"""A machine of the lab: a network namespace to run programs and open sockets in, without leaving this process."""

from __future__ import annotations

import ctypes
import http.client
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hawse.cli.selftest.waiting import PATIENCE
from hawse.cli.selftest.world import Result, World

CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, kind: int) -> None:
    """setns(2) for the calling thread; os.setns is only in Python 3.12."""
    if _libc.setns(fd, kind):
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


class Machine:
    """The lab's host, client or internet."""

    def __init__(self, world: World, name: str, namespace: str, address: str) -> None:
        self._world, self.name, self.namespace, self.address = world, name, namespace, address

    def run(self, argv: Sequence[str | Path], **options: Any) -> Result:
        return self._world.run(argv, machine=self, **options)

    def popen(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        return self._world.popen(argv, machine=self, **options)

    def open_socket(
        self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0
    ) -> socket.socket:
        """A socket of this machine: a socket stays in the network namespace it was made in."""
        with self._entered():
            return socket.socket(family, kind, protocol)

    def connect(self, address: str, port: int, *, timeout: float = 5, source: str = "") -> socket.socket:
        """A TCP connection from here.  Raises OSError: refused, timed out, unreachable."""
        sock = self.open_socket()
        try:
            sock.settimeout(timeout)
            if source:
                sock.bind((source, 0))
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def listen(self, port: int = 0, address: str = "0.0.0.0") -> socket.socket:
        """A TCP listener here; `accept` on it tells who the peer looks like from this side."""
        sock = self.open_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen()
        sock.settimeout(PATIENCE)
        return sock

    def get(self, address: str, port: int, path: str = "/", *, timeout: float = 5) -> bytes:
        """The body of a page fetched over HTTP from here.  Raises OSError or AssertionError (status other than 200).

        `timeout` is for the connection, which the kernels make among themselves; a server may be a slow program.
        """
        connection = http.client.HTTPConnection(address, port)
        connection.sock = self.connect(address, port, timeout=timeout)
        connection.sock.settimeout(PATIENCE)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, f"{answer.status} {body[:200]!r}"
            return body
        finally:
            connection.close()

    def reaches(self, address: str, port: int, *, timeout: float = 1) -> bool:
        """Tell whether a TCP connection from here succeeds; a refusal or silence is no."""
        try:
            self.connect(address, port, timeout=timeout).close()
        except OSError:
            return False
        return True

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """This thread in the machine's network namespace, for as long as it takes to make a socket."""
        ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        theirs = os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(theirs, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(ours, CLONE_NEWNET)
        finally:
            os.close(ours)
            os.close(theirs)
