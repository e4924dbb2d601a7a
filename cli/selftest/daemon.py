"""The lab's daemon: started, killed and started again by tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from hawse.cli.selftest.waiting import PATIENCE
from hawse.cli.selftest.world import World


class Daemon:
    """`hawse daemon` on the lab's host.  It need not be ours: one that the command line started is found by its socket."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = world.state / "daemon.log"

    @property
    def socket_path(self) -> Path:
        return self._world.inside / str(self._world.run_dir).lstrip("/") / "hawse.sock"

    @property
    def pid(self) -> int:
        """Return that of whoever listens on the API socket.  Raises OSError when nobody does."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket_path))
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, *flags: str, env: dict[str, str] | None = None, timeout: float = PATIENCE) -> None:
        """Start it and wait until it answers.  Raises AssertionError with its log when it does not."""
        self.launch(*flags, env=env)
        self.wait_ready(timeout)

    def launch(self, *flags: str, env: dict[str, str] | None = None) -> None:
        """Start it and do not wait."""
        with self.log_path.open("ab") as log:
            self._process = self._world.popen(
                ["hawse", "daemon", *flags],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """Exit code of the one that was started last; None while it lives."""
        assert self._process is not None
        return self._process.poll()

    def strike(self) -> None:
        """SIGKILL to the one that was started last, whatever it is doing, and no waiting."""
        assert self._process is not None
        self._process.kill()

    def wait_ready(self, timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while not self.answers():
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self._process.returncode}:\n{self.log[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the daemon does not answer after {timeout} s:\n{self.log[-4000:]}")
            time.sleep(0.01)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            try:
                sock.connect(str(self.socket_path))
                sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: hawse\r\nConnection: close\r\n\r\n")
                return b" 200 " in sock.recv(64)
            except OSError:
                return False

    def request(self, method: str, path: str, body: object = None, *, timeout: float = PATIENCE) -> tuple[int, bytes]:
        """Send one API request past the command line; return status and body."""
        connection = http.client.HTTPConnection("hawse")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(timeout)
            connection.sock.connect(str(self.socket_path))
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def signal(self, number: signal.Signals, timeout: float = PATIENCE) -> None:
        """Send a signal that ends it and wait until it is gone."""
        pid = self.pid
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, number)
            if self._process is not None and self._process.pid == pid:
                self._process.wait(timeout)
                return
            deadline = time.monotonic() + timeout
            while Path(f"/proc/{pid}").exists():
                if time.monotonic() > deadline:
                    raise AssertionError(f"the daemon lives {timeout} s after {number.name}")
                time.sleep(0.01)
        finally:
            os.close(pidfd)

    def wait_dead(self, timeout: float = PATIENCE) -> None:
        """Wait until the one that was started last has ended by itself (a crash point)."""
        assert self._process is not None
        self._process.wait(timeout)

    def kill9(self) -> None:
        self.signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def restart(self) -> None:
        self.terminate()
        self.start()

    def forget(self) -> None:
        """The lab is about to end, and the daemon with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
