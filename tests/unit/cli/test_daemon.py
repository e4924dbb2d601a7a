"""Finding the daemon, starting one when none answers, and ending it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from tests.unit.cli.daemon import PROGRAM

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's command line starts a daemon")

FAKE = """
import http.server, os, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "x"
    def do_GET(self):
        body = b"[]"
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        stranger = "stranger" in sys.argv
        body = b'{"message": "page not found"}' if stranger else b'{"pid": %d}' % os.getpid()
        self.send_response(404 if stranger else 202)
        self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body); self.wfile.flush()
        if not stranger:
            os._exit(0)
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
print(*sys.argv[2:], file=sys.stderr, flush=True)
if "--instance=bad" in sys.argv:
    sys.exit("no nftables here")
run_dir = next(a for a in sys.argv if a.startswith("--run-dir=")).partition("=")[2]
Server(run_dir + "/hawse.sock", Handler).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which `python -m hawse.supervisor` is a stand-in; what it starts is ended afterwards."""
    module = tmp_path / "path/sitecustomize.py"
    module.parent.mkdir()
    program = tmp_path / "fake.py"
    program.write_text(FAKE)
    module.write_text(
        "import os, sys\n"
        "if sys.orig_argv[1:4] == ['-P', '-m', 'hawse.supervisor']:\n"
        f"    os.execv(sys.executable, [sys.executable, '-I', '-S', {str(program)!r}, *sys.orig_argv[3:]])\n"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HAWSE_")}
    yield kept | {"PYTHONPATH": str(module.parent), "HAWSE_CONFIG": ""}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(program).encode() in words:
            os.kill(int(process.parent.name), signal.SIGKILL)


def hawse(env: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *argv], env=env, capture_output=True, text=True, timeout=100, check=False)


@as_root
def test_a_daemon_is_started_once_with_the_same_flags(fake: dict[str, str], tmp_path: Path) -> None:
    flags = [f"--run-dir={tmp_path}/run", f"--root={tmp_path}/root"]
    first = hawse(fake, *flags, "ps", "-q")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    said = first.stderr.split()
    assert first.stderr.startswith("hawse: started the daemon (pid ")
    assert first.stderr.endswith("); stop it with 'hawse system shutdown'\n")
    pid = int(said[5].rstrip(");"))
    assert os.getsid(pid) == pid, "it is in a session of its own"
    assert sorted((tmp_path / "run/daemon.log").read_text().splitlines()[0].split()) == sorted(flags)
    assert hawse(fake, *flags, "ps").stderr == ""


@as_root
def test_a_daemon_that_does_not_start_is_quoted(fake: dict[str, str], tmp_path: Path) -> None:
    said = hawse(fake, f"--run-dir={tmp_path}/run", "--instance=bad", "ps")
    assert said.returncode == 1
    assert "hawse: the hawse daemon did not start (exit code 1):" in said.stderr
    assert "no nftables here" in said.stderr


@as_root
def test_shutdown_returns_when_it_has_ended(fake: dict[str, str], tmp_path: Path) -> None:
    run_dir = f"--run-dir={tmp_path}/run"
    pid = int(hawse(fake, run_dir, "ps").stderr.split()[5].rstrip(");"))
    pidfd = os.pidfd_open(pid)
    said = hawse(fake, run_dir, "system", "shutdown")
    assert (said.returncode, said.stderr) == (0, f"the daemon (pid {pid}) has ended; running containers go on\n")
    assert select.select([pidfd], [], [], 0)[0], "gone"
    os.close(pidfd)


@as_root
def test_shutdown_ends_nobody_else(fake: dict[str, str], tmp_path: Path) -> None:
    """Whoever listens is asked, and not killed for listening."""
    program = [sys.executable, "-I", "-S", str(tmp_path / "fake.py"), "stranger", f"--run-dir={tmp_path}"]
    with subprocess.Popen(program, stderr=subprocess.PIPE) as stranger:
        assert stranger.stderr is not None
        stranger.stderr.readline()
        host = f"--host={tmp_path}/hawse.sock"
        while hawse(fake, "--no-autostart", host, "ps").returncode:
            assert stranger.poll() is None
        said = hawse(fake, host, "system", "shutdown")
        assert said.returncode == 1 and "page not found" in said.stderr
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("off", ["--no-autostart", "HAWSE_AUTOSTART=0", "HAWSE_AUTOSTART=false"])
def test_it_can_be_turned_off(fake: dict[str, str], tmp_path: Path, off: str) -> None:
    flags = [off] if off.startswith("--") else []
    env = fake if flags else fake | dict([off.split("=")])
    said = hawse(env, *flags, f"--run-dir={tmp_path}/run", "ps")
    assert said.returncode == 1
    assert f"no hawse daemon answers on unix://{tmp_path}/run/hawse.sock" in said.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def daemon_lock(tmp_path: Path) -> Iterator[IO[str]]:
    """The lock that a daemon with tmp_path/run holds; the test is that daemon until it closes the file."""
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


@pytest.mark.parametrize("flags", [[], ["--no-autostart"]])
def test_a_daemon_whose_socket_was_removed_is_named(
    fake: dict[str, str], tmp_path: Path, daemon_lock: IO[str], flags: list[str]
) -> None:
    path = tmp_path / "run/hawse.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.unlink()
        said = hawse(fake, *flags, f"--run-dir={tmp_path}/run", "ps")
    assert said.returncode == 1
    assert f"the hawse daemon (pid {os.getpid()}) runs, but its socket {path} is missing" in said.stderr
    assert "systemctl restart hawse.socket hawse.service" in said.stderr
    assert not (tmp_path / "run/daemon.log").exists(), "no other one was started"


@as_root
@pytest.mark.parametrize("ends", [False, True], ids=["which comes up", "which ends"])
def test_a_daemon_that_does_not_listen_is_waited_for(
    fake: dict[str, str], tmp_path: Path, daemon_lock: IO[str], ends: bool
) -> None:
    """It is starting, or about to end; a second one beside it would be refused."""
    run_dir = f"--run-dir={tmp_path}/run"
    with subprocess.Popen([*PROGRAM, run_dir, "ps", "-q"], env=fake, stderr=subprocess.PIPE, text=True) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        assert not (tmp_path / "run/daemon.log").exists()
        if ends:
            daemon_lock.close()
            assert "started the daemon" in waiting.communicate(timeout=100)[1]
        else:
            with subprocess.Popen([sys.executable, "-I", "-S", str(tmp_path / "fake.py"), "other", run_dir]) as other:
                assert waiting.communicate(timeout=100)[1] == ""
                other.kill()
        assert waiting.returncode == 0


@pytest.mark.parametrize("verb", [["version"], ["system", "shutdown"], ["__complete", "rm", ""]])
def test_some_verbs_never_start_one(fake: dict[str, str], tmp_path: Path, verb: list[str]) -> None:
    hawse(fake, f"--run-dir={tmp_path}/run", *verb)
    assert not (tmp_path / "run").exists()


def test_hawse_daemon_becomes_the_daemon(fake: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    said = hawse(fake, "daemon", f"--run-dir={tmp_path}/run", "--instance=bad", "--log-level", "debug", "--stop-all")
    assert said.returncode == 1
    assert said.stderr.splitlines()[0].split() == [
        f"--run-dir={tmp_path}/run",
        "--instance=bad",
        "--log-level=debug",
        "--stop-all",
    ]


def test_which_socket(tmp_path: Path) -> None:
    def path(flags: dict[str, str], environ: dict[str, str]) -> str:
        return Context(flags, environ).socket_path

    file = tmp_path / "hawse.toml"
    file.write_text('run_dir = "/from/file"\n')
    config = {"HAWSE_CONFIG": str(file)}
    empty = tmp_path / "empty.toml"
    empty.touch()
    assert path({"config": str(empty)}, {}) == "/run/hawse/hawse.sock"
    assert path({}, config) == "/from/file/hawse.sock"
    assert path({}, config | {"HAWSE_RUN_DIR": "/from/env"}) == "/from/env/hawse.sock"
    assert path({"run-dir": "/flag"}, config | {"HAWSE_RUN_DIR": "/from/env"}) == "/flag/hawse.sock"
    assert path({"run-dir": "/flag"}, {"HAWSE_HOST": "unix:///host.sock"}) == "/host.sock"
    assert path({"host": "/plain.sock"}, {"HAWSE_HOST": "unix:///host.sock"}) == "/plain.sock"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"host": "tcp://localhost:2375"}, "unix sockets only"),
        ({"host": "/" + "x" * 110}, "too long"),
        ({"config": "/no/such/file"}, "no such configuration file"),
    ],
)
def test_wrong_places(flags: dict[str, str], said: str) -> None:
    with pytest.raises(Failure, match=said):
        Context(flags, {})


def test_the_command_line_is_quick_to_load() -> None:
    """A ceiling on what `hawse ps` imports, as a number of modules: time on a busy machine proves nothing."""
    shown = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import sys; n = len(sys.modules); import hawse.cli.main, hawse.cli.verbs.ps, "
            "hawse.cli.context; print(len(sys.modules) - n, *sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert int(shown[0]) < 45
    assert not {"argparse", "http.client", "email", "subprocess", "signal", "typing", "dataclasses"} & set(shown[1:])
