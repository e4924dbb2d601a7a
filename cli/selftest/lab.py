"""The lab: a private world with a host, a client and an internet, made in a tenth of a second and gone without a trace.

Nothing in it touches the machine's own network, mounts, processes or /run: it is a set of namespaces kept by one
process (holder.py), which dies when this process does.  Shared with the machine are only the file system, where the lab
writes below `Lab.state`, and the cgroup hierarchies, where it uses `hawse_<instance>` and removes it.

Standard library only: `hawse selftest`, the tests, script/demo and the benchmark use it.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hawse.cli.selftest.daemon import Daemon
from hawse.cli.selftest.machine import Machine, setns
from hawse.cli.selftest.snapshot import Snapshot, take
from hawse.cli.selftest.terminal import Terminal
from hawse.cli.selftest.waiting import PATIENCE
from hawse.cli.selftest.world import Result, World

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout; of an installed hawse, its package."""
CACHE = REPOSITORY / ".cache" if (REPOSITORY / "pyproject.toml").exists() else Path("/var/lib/hawse-selftest")
CLIENT = "10.199.0.2"
HOST = "10.199.0.1"
INTERNET = "198.51.100.2"
UPLINK = "198.51.100.1"
CLONE_NEWPID = 0x2000_0000


class Lab:
    """One private world; a context manager.  `keep` are paths below /tmp or /run that stay visible inside."""

    def __init__(self, *, keep: Sequence[Path] = ()) -> None:
        self.instance, self._lock = _claim()
        self.state = CACHE / "labs" / self.instance
        self.root = self.state / "root"
        self.run_dir = Path("/run/hawse")
        (self.state / "share").mkdir()
        self.share = self.state / "share"
        """A directory on the real disk that inside and outside see by the same path."""
        visible = {REPOSITORY, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), *keep}
        (self.state / "holder.log").touch()
        with (self.state / "holder.log").open("rb+") as log:
            self._holder = subprocess.Popen(
                [
                    *("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
                    *("--propagation", "private", sys.executable, "-I", "-S"),
                    str(Path(__file__).with_name("holder.py")),
                    *map(str, sorted(visible)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._holder.stdout is not None
        told = self._holder.stdout.readline().split()
        if told[1:] != [b"ready"]:
            self._holder.communicate()
            why = (self.state / "holder.log").read_text()
            shutil.rmtree(self.state)
            os.close(self._lock)
            raise RuntimeError(f"the lab did not come up: {why}")
        self.pid = int(told[0])
        """The holder's, as the outside sees it."""
        self.inside = Path(f"/proc/{self.pid}/root")
        self._pid_namespace = os.open(f"/proc/{self.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.world = World(
            instance=self.instance,
            state=self.state,
            root=self.root,
            run_dir=self.run_dir,
            inside=self.inside,
            run=self.run,
            popen=self.popen,
        )
        self.host = Machine(self.world, "host", f"/proc/{self.pid}/ns/net", HOST)
        self.client = Machine(self.world, "client", f"{self.inside}/run/netns/client", CLIENT)
        self.internet = Machine(self.world, "internet", f"{self.inside}/run/netns/internet", INTERNET)
        (self.state / "hawse.toml").touch()
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "HAWSE_INSTANCE": self.instance,
            "HAWSE_ROOT": str(self.root),
            "HAWSE_RUN_DIR": str(self.run_dir),
            "HAWSE_HOST": f"unix://{self.run_dir}/hawse.sock",
            "HAWSE_CONFIG": str(self.state / "hawse.toml"),
            "HAWSE_HOOKS_DIR": str(self.state / "hooks.d"),
            "HAWSE_VENDOR_HOOKS_DIR": str(self.state / "vendor-hooks.d"),
            "HAWSE_HANDLERS_DIR": str(self.state / "handlers.d"),
            "HAWSE_AUTOSTART": "0",
        }
        self._begun: set[subprocess.Popen[bytes]] = set()
        self.daemon = Daemon(self.world)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the lab and remove what it had on the machine: its directory and its cgroups."""
        self.daemon.forget()
        assert self._holder.stdin is not None and self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        thaw(f"hawse_{self.instance}")
        for process in self._begun:  # by whom it was forgotten: the pid namespace ends when its last process is reaped
            process.wait(PATIENCE)
        self._holder.wait(PATIENCE)
        os.close(self._pid_namespace)
        remove_cgroups(f"hawse_{self.instance}")
        shutil.rmtree(self.state)
        os.close(self._lock)

    # -- running programs inside ---------------------------------------------------------------------------------------

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        machine: Machine | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a program on one of the machines.  The Popen is the program itself: its pid and signals are direct."""
        nsenter = [
            "nsenter",
            *(
                f"--{option}=/proc/{self.pid}/ns/{kind}"
                for option, kind in (("mount", "mnt"), ("uts",) * 2, ("ipc",) * 2)
            ),
            f"--net={(machine or self.host).namespace}",
            f"--wdns={cwd}",
            "--",
        ]
        with self._in_pid_namespace():
            process = subprocess.Popen([*nsenter, *map(str, argv)], env={**self.env, **(env or {})}, **options)
        self._begun.add(process)
        return process

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        machine: Machine | None = None,
        input: str | bytes | None = None,
        timeout: float = 1.5 * PATIENCE,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
    ) -> Result:
        """Run a program to its end.  With `check`, an exit code other than 0 is an AssertionError that shows its output."""
        stdin: int | IO[bytes] = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(
            argv,
            machine=machine,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            result = Result(argv=tuple(map(str, argv)), code=-1, stdout=out, stderr=err)
            raise AssertionError(f"not done after {timeout} s: {result}") from None
        except BaseException:  # the test was given up: a process left behind would hold the lab's directory
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        self._begun.discard(process)
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        result = Result(argv=tuple(map(str, argv)), code=code, stdout=out, stderr=err)
        if check and code:
            raise AssertionError(str(result))
        return result

    def hawse(
        self,
        *args: str | Path,
        input: str | bytes | None = None,
        timeout: float = 1.5 * PATIENCE,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
    ) -> Result:
        """The command line on the host, against this lab's daemon."""
        return self.run(["hawse", *args], input=input, timeout=timeout, check=check, env=env, cwd=cwd)

    def inspect(self, ref: str) -> dict[str, Any]:
        """Return what `hawse inspect` says about one object."""
        (shown,) = json.loads(self.hawse("inspect", ref).out)
        assert isinstance(shown, dict)
        return shown

    def address(self, ref: str, network: str) -> str:
        """A container's address in a network."""
        return str(self.inspect(ref)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def pty(self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Terminal:
        """A program on the host with a terminal of its own, as a person at a keyboard runs it."""
        return Terminal(self.world, argv, env)

    @contextmanager
    def _in_pid_namespace(self) -> Iterator[None]:
        """Children that this thread starts meanwhile are born in the lab's pid namespace (setns(2))."""
        ours = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._pid_namespace, CLONE_NEWPID)
            try:
                yield
            finally:
                setns(ours, CLONE_NEWPID)
        finally:
            os.close(ours)

    # -- the leak check ------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything that a container could leave behind, as it is now."""
        return take(self.world, self.daemon)

    def settled(self, timeout: float = PATIENCE) -> Snapshot:
        """A snapshot without containers that a second look confirms: what is still being cleaned up is waited for."""
        deadline = time.monotonic() + timeout
        now = self.snapshot()
        while time.monotonic() < deadline:
            time.sleep(0.15)
            last, now = now, self.snapshot()
            if now == last and now.is_at_rest:
                return now
        raise AssertionError("the lab does not come to rest")

    def leaks(self, before: Snapshot, timeout: float = PATIENCE) -> list[str]:
        """Return what differs from `before`, one readable line each, once it stops changing for the better or time is up."""
        deadline = time.monotonic() + timeout
        while (lines := self.snapshot().difference(before)) and time.monotonic() < deadline:
            time.sleep(0.05)  # the kernel and the daemon finish on their own: no event covers all of it
        return lines


def thaw(name: str) -> None:
    """Thaw everything: what is paused takes its SIGKILL only when it is thawed (freezer-subsystem.rst, of cgroup v1)."""
    for state in Path("/sys/fs/cgroup").glob(f"*/{name}/*/freezer.state"):
        try:
            state.write_text("THAWED")
        except FileNotFoundError:
            continue


def remove_cgroups(name: str) -> None:
    """Remove the cgroup `name` with its children from every hierarchy; all their processes are gone, or dying."""
    thaw(name)
    for top in (*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup") / name):
        for directory, _, _ in os.walk(top, topdown=False):
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:  # EBUSY until the last dead process is reaped
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)


def _claim() -> tuple[str, int]:
    """An instance name that no other lab uses, with the lock that says so; labs whose maker was killed are swept first."""
    labs = CACHE / "labs"
    labs.mkdir(parents=True, exist_ok=True)
    with (labs / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for directory in labs.glob("[a-z]*"):
            if (lock := _locked(directory)) is not None:
                remove_cgroups(f"hawse_{directory.name}")
                shutil.rmtree(directory)
                os.close(lock)
        while True:
            name = random.choice(string.ascii_lowercase) + "".join(random.choices(string.ascii_lowercase, k=3))
            if not (labs / name).exists() and not list(Path("/sys/fs/cgroup").glob(f"*/hawse_{name}")):
                (labs / name).mkdir()
                lock = _locked(labs / name)
                assert lock is not None
                return name, lock


def _locked(directory: Path) -> int | None:
    """A lock on the directory, kept as long as the descriptor is open; None when a living lab has it, or had it just now."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(directory)  # a lab that ends removes it before it lets go of the lock
    except (BlockingIOError, FileNotFoundError):
        os.close(fd)
        return None
    return fd
