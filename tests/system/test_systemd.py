"""The service manager's side: readiness, watchdog, the stop, sockets that are passed, and a daemon that cannot go on.

The test is the manager: it listens on NOTIFY_SOCKET (the path of a file that lab and test both see) and passes sockets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import REPOSITORY, Lab
from hawse.cli.selftest.waiting import PATIENCE, eventually
from hawse.supervisor.linux.cgroup_hierarchy import UNIT

ACTIVATE = """
import os, socket, subprocess, sys
path = sys.argv[1]
os.makedirs(os.path.dirname(path), exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
print("listening", flush=True)
for start in sys.stdin:
    daemon = ["sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec hawse daemon"]
    print(subprocess.call(daemon, close_fds=False), flush=True)
"""


class Activator:
    """A service manager that keeps the socket and starts a daemon with it as often as it is told to."""

    def __init__(self, lab: Lab) -> None:
        with (lab.state / "activated.log").open("wb") as log:
            program = [sys.executable, "-c", ACTIVATE, f"{lab.run_dir}/hawse.sock"]
            self._process = lab.popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._hear(b"listening")

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.flush()

    def wait_ended(self) -> None:
        """Until the daemon has ended in order."""
        self._hear(b"0")

    def _hear(self, wanted: bytes) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == wanted

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()


class Manager:
    """Hears what the daemon tells its service manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def hear(self, wanted: str, timeout: float = PATIENCE) -> None:
        """Wait for a message; others may come before."""
        self._socket.settimeout(timeout)
        while self._socket.recv(4096).decode() != wanted:
            pass

    def next(self, timeout: float = PATIENCE) -> str:
        self._socket.settimeout(timeout)
        return self._socket.recv(4096).decode()

    @property
    def has_news(self) -> bool:
        self._socket.settimeout(0)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    @property
    def env(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path)}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(bare_lab: Lab) -> Iterator[Manager]:
    listening = Manager(bare_lab.share / "notify")
    yield listening
    listening.close()


def test_ready_when_it_answers_and_stopping_when_told(bare_lab: Lab, manager: Manager) -> None:
    bare_lab.daemon.launch(env=manager.env)
    assert manager.next() == "READY=1"
    assert bare_lab.daemon.answers(), "readiness is a promise"
    bare_lab.daemon.terminate()
    assert manager.next() == "STOPPING=1"
    assert bare_lab.daemon.ended == 0


def test_a_reload_is_told_from_its_beginning_to_its_end(bare_lab: Lab, manager: Manager) -> None:
    """What sd_notify(3) asks for, so that `systemctl reload` of Type=notify-reload would work as well."""
    file = bare_lab.share / "hawse.toml"
    file.write_text("")
    bare_lab.daemon.launch(f"--config={file}", env=manager.env)
    manager.hear("READY=1")
    for text, end in (("", "READY=1\nSTATUS=Reloaded"), ("no", "READY=1\nSTATUS=Not reloaded: ")):
        file.write_text(text)
        os.kill(bare_lab.daemon.pid, signal.SIGHUP)
        begin, _, now = manager.next().partition("\nMONOTONIC_USEC=")
        assert begin == "RELOADING=1"
        assert abs(int(now) - time.monotonic_ns() // 1000) < PATIENCE * 1_000_000
        assert manager.next().startswith(end)


def test_ready_only_after_recovery(bare_lab: Lab, manager: Manager) -> None:
    """A daemon that is held up in its recovery (a shim that does not answer) is not ready meanwhile."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    shim = json.loads(lab.daemon.request("GET", "/hawse/v1/containers/box")[1])["container"]["shim"]["pid"]
    lab.daemon.terminate()
    lab.run(["kill", "-STOP", str(shim)])
    lab.daemon.launch(env=manager.env)
    eventually(lambda: "spawner" in str(lab.daemon.log) or _has_lock(lab))
    assert not manager.has_news
    lab.run(["kill", "-CONT", str(shim)])
    assert manager.next() == "READY=1"
    assert lab.inspect("box")["State"]["Status"] == "running"


def _has_lock(lab: Lab) -> bool:
    return bool((lab.inside / "run/hawse/daemon.lock").read_text().strip())


def test_the_watchdog_is_fed_and_a_standstill_is_seen(bare_lab: Lab, manager: Manager) -> None:
    bare_lab.daemon.launch(env={**manager.env, "WATCHDOG_USEC": "100000"})
    manager.hear("READY=1")
    for _ in range(3):
        manager.hear("WATCHDOG=1")
    pid = bare_lab.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T"))
    while manager.has_news:
        manager.next()
    with pytest.raises(TimeoutError):
        manager.hear("WATCHDOG=1", timeout=0.3)
    os.kill(pid, signal.SIGCONT)
    manager.hear("WATCHDOG=1")


def test_graces_are_not_cut_by_the_manager(bare_lab: Lab, manager: Manager) -> None:
    """It bounds what comes after STOPPING=1, and ends who does not feed the watchdog: neither while containers end."""
    lab = bare_lab
    lab.daemon.start()
    lab.hawse("image", "import", busybox_tar(), "busybox")
    program = "trap 'sleep 1; exit 9' TERM; touch /ready; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", program)
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    pid = lab.inspect("box")["State"]["Pid"]
    lab.daemon.terminate()
    lab.daemon.launch(env={**manager.env, "WATCHDOG_USEC": "100000"})
    manager.hear("READY=1")
    assert lab.daemon.request("POST", "/hawse/v1/shutdown?stop_all=1")[0] == 202
    eventually(lambda: lab.daemon.log.count("daemon_stopping") == 2)
    for _ in range(9):
        assert manager.next() == "WATCHDOG=1"
    assert (lab.inside / f"proc/{pid}").exists(), "all this in its grace"
    manager.hear("STOPPING=1")
    assert not (lab.inside / f"proc/{pid}").exists()
    lab.daemon.wait_dead()


def test_a_watchdog_for_another_process_is_not_fed(bare_lab: Lab, manager: Manager) -> None:
    bare_lab.daemon.launch(env={**manager.env, "WATCHDOG_USEC": "10000", "WATCHDOG_PID": "1"})
    manager.hear("READY=1")
    bare_lab.daemon.terminate()
    assert manager.next() == "STOPPING=1"


@pytest.fixture
def activator(bare_lab: Lab) -> Iterator[Activator]:
    made = Activator(bare_lab)
    yield made
    made.close()


def test_sockets_that_are_passed(bare_lab: Lab, activator: Activator) -> None:
    """What connects before a daemon is ready waits in the manager's socket; the daemon leaves that to the next one."""
    lab = bare_lab
    socket_file = lab.daemon.socket_path.stat().st_ino
    for _ in range(2):
        activator.start()
        assert json.loads(lab.hawse("version", "--format", "json").out)["Server"]
        said = lab.hawse("system", "shutdown")
        assert "has ended; running containers go on" in said.err
        activator.wait_ended()
        assert lab.daemon.socket_path.exists(), "it is the manager's"
    assert lab.daemon.socket_path.stat().st_ino == socket_file


@pytest.mark.parametrize("autostart", ["0", "1"])
def test_a_passed_socket_whose_file_was_removed_is_named(bare_lab: Lab, activator: Activator, autostart: str) -> None:
    """Not even a daemon that is started anew would be found there; a second one beside it is not tried."""
    lab = bare_lab
    activator.start()
    lab.hawse("version")
    pid = (lab.inside / "run/hawse/daemon.lock").read_text().strip()
    lab.daemon.socket_path.unlink()
    said = lab.hawse("ps", env={"HAWSE_AUTOSTART": autostart}, check=False)
    assert said.code == 1
    assert f"the hawse daemon (pid {pid}) runs, but its socket {lab.run_dir}/hawse.sock is missing" in said.err
    assert "systemctl restart hawse.socket hawse.service" in said.err
    assert not (lab.inside / "run/hawse/daemon.log").exists(), "no other one was started"
    lab.run(["kill", pid])
    activator.wait_ended()


def test_a_dead_spawner_ends_the_daemon_and_nothing_else(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    pid = lab.inspect("box")["State"]["Pid"]
    children = Path(f"/proc/{lab.daemon.pid}/task/{lab.daemon.pid}/children").read_text().split()
    assert len(children) == 1, "the daemon has one child, the spawner"
    os.kill(int(children[0]), signal.SIGKILL)
    lab.daemon.wait_dead()
    assert lab.daemon.ended == 1
    assert "the spawner died" in lab.daemon.log
    lab.daemon.start()
    assert lab.inspect("box")["State"]["Pid"] == pid
    lab.hawse("run", "--rm", "busybox", "true")
    lab.hawse("rm", "-f", "box")


def test_a_stop_lets_requests_finish(lab: Lab) -> None:
    """The stop of a container takes half a second; the daemon is told to end in the middle of it."""
    program = "trap 'sleep 0.5; exit 9' TERM; touch /ready; while :; do sleep 0.05; done"
    lab.hawse("run", "-d", "--name", "box", "busybox", "sh", "-c", program)
    eventually(lambda: lab.hawse("exec", "box", "test", "-e", "/ready", check=False).code == 0)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(lab.daemon.request("POST", "/containers/box/stop?t=60")[0]))
    thread.start()
    eventually(
        lambda: json.loads(lab.daemon.request("GET", "/hawse/v1/containers/box")[1])["container"]["stopped_by_user"]
    )
    lab.daemon.terminate()
    thread.join(PATIENCE)
    assert answers == [204]
    lab.daemon.start()
    eventually(lambda: lab.inspect("box")["State"]["Status"] == "exited")
    assert lab.inspect("box")["State"]["ExitCode"] == 9
    lab.hawse("rm", "box")


def test_the_units_say_what_the_daemon_relies_on() -> None:
    service, containers, sockets = (ConfigParser(strict=False) for _ in range(3))
    for parser in (service, containers, sockets):
        parser.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(REPOSITORY / "cli/install/packaged/hawse.service")
    containers.read(REPOSITORY / f"cli/install/packaged/{UNIT}")
    sockets.read(REPOSITORY / "cli/install/packaged/hawse.socket")
    wanted = {"Type": "notify", "KillMode": "process", "OOMPolicy": "continue", "Restart": "always"}
    assert {key: service["Service"][key] for key in wanted} == wanted
    assert UNIT in service["Unit"]["Wants"].split() and UNIT in service["Unit"]["After"].split()
    assert containers["Service"]["Delegate"] == "yes" and containers["Service"]["OOMPolicy"] == "continue"
    assert int(service["Service"]["WatchdogSec"]) > 0
    assert service["Service"]["LimitCORE"] == "0"
    assert "hawse-shutdown.service" in service["Unit"]["Wants"]
    shutdown = ConfigParser(strict=False)
    shutdown.optionxform = str  # type: ignore[assignment,method-assign]
    shutdown.read(REPOSITORY / "cli/install/packaged/hawse-shutdown.service")
    assert "hawse.service" in shutdown["Unit"]["After"].split(), "what comes after it is stopped before it"
    assert {"Requires", "BindsTo", "PartOf"}.isdisjoint(shutdown["Unit"]), (
        "a restart of hawse.service stops no container"
    )
    _, _, waits = shutdown["Service"]["ExecStop"].partition("--stop-all --timeout ")
    assert int(waits) < int(shutdown["Service"]["TimeoutStopSec"])
    assert sockets["Socket"]["ListenStream"] == "/run/hawse/hawse.sock"
