"""The shim of one container: parent of its init, pump of its output, writer of its exit record.  Stdlib only.

    waiting ──init is set up──▶ ready ──go, exec──▶ running ──init ends──▶ exited
       └──────any failure──────────┴─────────────────────────────────────────▶ exited, without a record

It outlives the daemon that asked for it.  It leaves when it is released or aborted, or when it has nothing to keep and
nobody to tell: the container has ended (the record is on disk) or never started, and no daemon is connected.

It is forked before it is needed, and lets its midwife do whatever is only done once: what it does not touch itself, it
shares with the spawner and all other shims.
"""

from __future__ import annotations

import os
import signal
import time

from hawse.supervisor import faults
from hawse.supervisor.linux import journald
from hawse.supervisor.shim import protocol, reaping
from hawse.supervisor.shim.control import Control, Message
from hawse.supervisor.shim.exec_ import DRAIN_LIMIT, Exec
from hawse.supervisor.shim.journalwriter import JournalWriter
from hawse.supervisor.shim.logwriter import LogWriter
from hawse.supervisor.shim.loop import READ, Loop
from hawse.supervisor.shim.midwife import Charge
from hawse.supervisor.shim.offspring import failed, receive, set_limits
from hawse.supervisor.shim.program import Failure
from hawse.supervisor.shim.protocol import Socket
from hawse.supervisor.shim.pump import Pump
from hawse.supervisor.shim.reaping import ExitRecord
from hawse.supervisor.shim.requests import Requests


class Shim:
    """`link` goes to the midwife, `channel` to init, whether they live yet or no longer."""

    def __init__(self, link: Socket, channel: Socket, midwife_pid: int) -> None:
        self.charge: Charge | None = None
        self.phase = "waiting"
        self.stages: dict[str, int] = {}
        self.exit: ExitRecord | None = None
        self.pid = 0
        self.start_time = 0
        self.started_at = 0
        self.execs: dict[str, Exec] = {}
        self.netlink = -1
        self._link, self._channel, self._midwife_pid = link, channel, midwife_pid
        self.pidfd = -1
        self._mounts = -1
        self._begun: dict[str, int] = {}
        self._delivered = False
        self._executing = False
        self._must_stay = False
        self._failure: Failure | None = None
        self.loop = Loop()
        self.control = Control(self.loop, Requests(self).receive, self._on_alone)
        self.pump: Pump | None = None

    def run(self, job: bytes, daemon: Socket) -> None:
        self.begin(job, daemon)
        self.loop.run()
        self.close()

    def begin(self, job: bytes, daemon: Socket) -> None:
        self._begun["namespaces"] = time.monotonic_ns()
        self._link.send(job)
        faults.point("shim.asked")
        self.control.add(daemon, {"ev": "hello", "version": protocol.VERSION})
        self.loop.watch(self._link.fileno(), READ, self._on_midwife)

    def leave(self) -> None:
        self.loop.running = False

    def close(self) -> None:
        """The program has ended; let go of everything but what the clients still have to be told."""
        self.control.close()
        self._release_network()
        for fd in (self.pidfd, self._mounts):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self._mounts = -1
        self.loop.close()

    # -- the start

    def _on_midwife(self, _events: int) -> None:
        message, fds = receive(self._link)
        match message.get("ev"):
            case "charge":
                try:
                    del message["ev"]
                    self._take_charge(Charge(**message))
                except OSError as e:
                    self._fail(Failure("namespaces", e.strerror or str(e), e.errno or 0))
            case "born":
                self._on_birth(message["pid"], fds[0])
            case "delivered":
                self.stages["sources"] = message["sources"]
                self._delivered = True
            case _:
                self._on_midwife_end(message)

    def _take_charge(self, charge: Charge) -> None:
        self.charge = charge
        self.control.listen(charge.socket)
        faults.point("shim.listening")
        self.pump = Pump(self.loop, _open_log(charge), tty=charge.tty, close_stdin=charge.stdin_once)

    def _on_birth(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.start_time = _start_time(pid)
        faults.point("shim.born")
        self.loop.watch(pidfd, READ, self._on_init_end)
        self.loop.watch(self._channel.fileno(), READ, self._on_init_message)
        if self._failure is not None:
            self._kill()
        elif self.charge is not None and not self.charge.has_network:
            self._tell_namespaces()

    def _on_midwife_end(self, last_word: Message) -> None:
        self.loop.forget(self._link.fileno())
        self._link.close()
        os.waitpid(self._midwife_pid, 0)
        self._midwife_pid = 0
        if not self._delivered:
            self._fail(failed(last_word))

    def _tell_namespaces(self) -> None:
        self._measure("namespaces")
        netlink = (self.netlink,) if self.netlink >= 0 else ()
        message = {"ev": "namespaces", "pid": self.pid, "start_time": self.start_time}
        self.control.tell(message, (self.pidfd, *netlink))

    def _on_init_message(self, _events: int = READ) -> None:
        message, fds = receive(self._channel)
        match message.get("ev"):
            case "netlink":
                self.netlink = fds[0]
                self._tell_namespaces()
            case "ready":
                self._on_ready(message, fds)
            case "executing":
                self._executing = True
            case "failed":
                self._failure = failed(message)
            case None:
                self._on_init_channel_end()

    def _on_ready(self, message: Message, fds: list[int]) -> None:
        assert self.pump is not None
        self.pump.open(fds)
        self.stages["cgroup"], self.stages["mounts"] = message["cgroup"], message["mounts"]
        self.phase = "ready"
        self._begun["gate"] = time.monotonic_ns()
        self.control.tell({"ev": "ready", "stages": self.stages})
        faults.point("shim.ready")
        try:
            # A dying process first waits until the mounts that only it had are gone (RCU, some 2 ms), and only then can
            # anybody hear of its death.  So the shim has them, too, and takes them along.
            self._mounts = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass  # dead already, and its mounts with it

    def _on_init_channel_end(self) -> None:
        """By exec, or by death; a death without any word is found by the pidfd."""
        self.loop.forget(self._channel.fileno())
        self._channel.close()
        if self._executing and self._failure is None:
            self._measure("exec")
            self.phase = "running"
            self.started_at = time.time_ns()
            self.control.tell({"ev": "started", "stages": self.stages})
            faults.point("shim.started")

    def open_gate(self) -> bool:
        """Let init execute the program; False when it is not waiting for that."""
        if self.phase != "ready" or self.charge is None or "exec" in self._begun:
            return False
        self._measure("gate")
        self._begun["exec"] = time.monotonic_ns()
        try:
            set_limits(self.pid, self.charge.rlimits, self.charge.oom_score_adj)
            protocol.send(self._channel, {"op": "go"})
        except Failure as e:
            self._fail(e)
        except OSError:
            pass  # init is dead, and its pidfd tells
        return True

    def _measure(self, stage: str) -> None:
        self.stages[stage] = (time.monotonic_ns() - self._begun[stage]) // 1000

    def _fail(self, failure: Failure) -> None:
        """Init shall not live on; what is to be told is told when it is dead, and nobody can make it any more."""
        self._failure = self._failure or failure
        if self.pidfd >= 0:
            self._kill()
        elif self._midwife_pid == 0:
            self._tell_failure()

    def _tell_failure(self) -> None:
        failure = self._failure or failed({})
        self.phase = "exited"
        self._release_network()
        if self.pump is not None:
            self.pump.finish()
        self.control.tell(
            {
                "ev": "failed",
                "stage": failure.stage,
                "errno": failure.number,
                "message": failure.message,
                "exit_code": failure.exit_code,
            }
        )
        self._on_alone()

    # -- the end

    def _on_init_end(self, _events: int) -> None:
        ended = reaping.reap(self.pidfd)
        if ended is None:
            return
        self.loop.forget(self.pidfd)
        # First of all: as long as this is open, so is the network namespace, and its veth stays.
        self._release_network()
        while self.phase != "running" and self._channel.fileno() >= 0:
            self._on_init_message()
        if self.phase != "running" or self.pump is None:
            self._tell_failure()
            return
        self.pump.drain(DRAIN_LIMIT, lambda: self._record_exit(*ended))

    def _record_exit(self, code: int, number: int | None) -> None:
        assert self.charge is not None
        assert self.pump is not None
        record = reaping.record(self.charge.cgroups, code, number, self.started_at)
        faults.point("shim.exit-seen")
        try:
            record.write(self.charge.state_dir)
        except OSError:
            self._must_stay = True  # a full disk: only this process knows how the program ended
        faults.point("shim.exit-written")
        self.exit = record
        self.phase = "exited"
        self.control.tell({"ev": "exited", "exit": reaping.as_dict(record)})
        faults.point("shim.told")
        self.pump.finish()
        self._on_alone()

    def _release_network(self) -> None:
        if self.netlink >= 0:
            os.close(self.netlink)
            self.netlink = -1

    def _kill(self) -> None:
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _on_alone(self) -> None:
        """Nobody is connected (any more)?"""
        if not self.control.is_alone:
            return
        if self.phase == "exited":
            if not self._must_stay:
                self.leave()
        elif self.phase != "running" and "exec" not in self._begun:
            # A gate that nobody will open: the daemon died in the middle of a start, and its successor unwinds that.
            self.abort()

    def abort(self) -> None:
        """Neither the container nor its shim shall live on, whatever has been reached."""
        self._kill()
        if self._midwife_pid:
            os.kill(self._midwife_pid, signal.SIGKILL)  # not reaped yet, so it is she
        if self.pidfd >= 0:
            try:
                os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            except ChildProcessError:
                pass
        # An init that was born just now and not heard of finds itself alone, and ends.
        self.leave()


def _open_log(charge: Charge) -> LogWriter | None:
    """Raises OSError."""
    if not charge.log_path:
        return None
    if charge.journal_fields is None:
        return LogWriter(charge.log_path, charge.log_max_size, charge.log_max_files)
    fields = journald.encode(charge.journal_fields)
    return JournalWriter(charge.log_path, charge.log_max_size, charge.log_max_files, fields)


def _start_time(pid: int) -> int:
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    text = os.read(fd, 4096)
    os.close(fd)
    return int(text.rpartition(b")")[2].split()[19])
