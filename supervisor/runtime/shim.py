"""One container's keeper: parent of its init, pump of its output, writer of its exit record.  Stdlib only.

    waiting ──init is set up──▶ ready ──go, exec──▶ running ──init ends──▶ exited
       └──────any failure──────────┴─────────────────────────────────────────▶ exited, without a record

It outlives the daemon that asked for it.  It leaves when it is released or aborted, or when it has nothing to keep and
nobody to tell: the container has ended (the record is on disk) or never started, and no daemon is connected.

It is forked before it is needed, and lets its midwife do whatever is only done once: what it does not touch itself, it
shares with the spawner and all other shims.
"""

from __future__ import annotations

import base64
import errno
import os
import select
import signal
import time
import traceback
from typing import Any, NoReturn

from hawse.supervisor import faults
from hawse.supervisor.runtime import exits, midwife, protocol
from hawse.supervisor.runtime.attached import Wishes
from hawse.supervisor.runtime.control import Connection, Control, Message
from hawse.supervisor.runtime.exec_ import DRAIN_LIMIT, Exec
from hawse.supervisor.runtime.exits import ExitRecord
from hawse.supervisor.runtime.logwriter import LogWriter
from hawse.supervisor.runtime.loop import READ, Loop
from hawse.supervisor.runtime.midwife import Charge, read_spec
from hawse.supervisor.runtime.offspring import failed, receive, set_limits
from hawse.supervisor.runtime.program import Failure
from hawse.supervisor.runtime.protocol import Socket
from hawse.supervisor.runtime.pump import Pump
from hawse.supervisor.runtime.terminal import DEFAULT_DETACH_KEYS, parse_keys

EXECS_REMEMBERED = 32
"""Exit codes of ended execs that a daemon which comes later can still ask for."""


TAKEN, NO_DAEMON = b"t", b"n"
"""What a shim that has waited says to the spawner: it has its job; or there will be none any more."""
MAX_FD = 0x7FFF_FFFF


def main(jobs: Socket, spawner: int) -> NoReturn:
    """The whole life of a shim, in a process of its own: waits for its job on `jobs`, the spawner's socket to the daemon.

    `spawner` is a pipe to the spawner.  Never returns, never raises.
    """
    shim: Shim | None = None
    try:
        os.setsid()
        _set_name(b"hawse-shim")
        link, theirs = protocol.socketpair()
        channel, inits = protocol.socketpair()
        midwife_pid = os.fork()
        if midwife_pid == 0:
            midwife.main(theirs, channel, inits)
        theirs.close()
        inits.close()
        shim = Shim(link, channel, midwife_pid)
        job, control = wait_for_job(jobs, spawner)
        jobs.close()
        os.close(spawner)
        shim.run(job, control)
        os._exit(0)
    except BaseException:
        _leave_word(shim)
        os._exit(1)


def wait_for_job(jobs: Socket, spawner: int) -> tuple[bytes, Socket]:
    """The request, and the daemon's control connection that came with it.  Answers it.  Exits when none will come."""
    poll = select.poll()
    poll.register(jobs, select.POLLIN)
    poll.register(spawner, 0)  # an error on it: nobody reads it any more
    if any(fd == spawner for fd, _ in poll.poll()):
        os._exit(0)
    job, fds = protocol.receive_raw(jobs)
    if not job:
        os.write(spawner, NO_DAEMON)
        os._exit(0)
    os.write(spawner, TAKEN)
    request = protocol.decode(job)
    pid = os.getpid()
    pidfd = os.pidfd_open(pid)
    answer = {"ev": "spawned", "shim_pid": pid, "id": request.get("id"), "rid": request.get("rid")}
    protocol.send(jobs, answer, (pidfd,))
    os.close(pidfd)
    return job, Socket(fileno=fds[0])


def _set_name(name: bytes) -> None:
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, name)
    os.close(fd)


def _leave_word(shim: Shim | None) -> None:
    """A shim has no standard error that anybody reads."""
    if shim is None or shim.charge is None:
        return
    try:
        path = f"{shim.charge.state_dir}/shim.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, traceback.format_exc().encode())
    except OSError:
        pass


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
        self._pidfd = -1
        self._mounts = -1
        self._begun: dict[str, int] = {}
        self._delivered = False
        self._executing = False
        self._failure: Failure | None = None
        self.loop = Loop()
        self.control = Control(self.loop, self._on_control, self._on_alone)
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
        self.loop.watch(self._link.fileno(), READ, lambda _: self._on_midwife())

    def close(self) -> None:
        """The program has ended; let go of everything but what the clients still have to be told."""
        self.control.close()
        self._release_network()
        for fd in (self._pidfd, self._mounts):
            if fd >= 0:
                os.close(fd)
        self._pidfd = self._mounts = -1
        self.loop.close()

    # -- the start

    def _on_midwife(self) -> None:
        message, fds = receive(self._link)
        match message.get("ev"):
            case "charge":
                try:
                    self._take_charge(Charge(**{k: v for k, v in message.items() if k != "ev"}))
                except OSError as e:
                    self._fail(Failure("namespaces", e.strerror or str(e), e.errno or 0))
            case "born":
                self._on_birth(message["pid"], fds[0])
            case "delivered":
                self.stages["sources"] = message["sources"]
                self._delivered = True
            case _:
                self._on_midwife_end(failed(message))

    def _take_charge(self, charge: Charge) -> None:
        self.charge = charge
        self.control.listen(charge.socket)
        faults.point("shim.listening")
        log = LogWriter(charge.log_path, charge.log_max_size, charge.log_max_files)
        self.pump = Pump(self.loop, log, tty=charge.tty, close_stdin=charge.stdin_once)

    def _on_birth(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd
        self.start_time = _start_time(pid)
        faults.point("shim.born")
        self.loop.watch(pidfd, READ, lambda _: self._on_init_end())
        self.loop.watch(self._channel.fileno(), READ, lambda _: self._on_init_message())
        if self._failure is not None:
            self._kill()
        elif self.charge is not None and not self.charge.has_network:
            self._tell_namespaces()

    def _on_midwife_end(self, failure: Failure) -> None:
        """She has nothing more to say; if that comes too soon, `failure` is why."""
        self.loop.forget(self._link.fileno())
        self._link.close()
        os.waitpid(self._midwife_pid, 0)
        self._midwife_pid = 0
        if not self._delivered:
            self._fail(failure)

    def _tell_namespaces(self) -> None:
        self._measure("namespaces")
        netlink = (self.netlink,) if self.netlink >= 0 else ()
        message = {"ev": "namespaces", "pid": self.pid, "start_time": self.start_time}
        self.control.tell(message, (self._pidfd, *netlink))

    def _on_init_message(self) -> None:
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
        self.stages |= {stage: message[stage] for stage in ("cgroup", "mounts")}
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

    def _go(self, connection: Connection, rid: Any) -> None:
        if self.phase != "ready" or self.charge is None or "exec" in self._begun:
            connection.send(_error(rid, errno.EBUSY, f"the container is {self.phase}"))
            return
        self._measure("gate")
        self._begun["exec"] = time.monotonic_ns()
        try:
            set_limits(self.pid, self.charge.rlimits, self.charge.oom_score_adj)
            protocol.send(self._channel, {"op": "go"})
        except Failure as e:
            self._fail(e)
        except OSError:
            pass  # init is dead, and its pidfd tells

    def _measure(self, stage: str) -> None:
        self.stages[stage] = (time.monotonic_ns() - self._begun[stage]) // 1000

    def _fail(self, failure: Failure) -> None:
        """Init shall not live on; what is to be told is told when it is dead, and nobody can make it any more."""
        self._failure = self._failure or failure
        if self._pidfd >= 0:
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

    def _on_init_end(self) -> None:
        ended = exits.reap(self._pidfd)
        if ended is None:
            return
        self.loop.forget(self._pidfd)
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
        record = exits.record(self.charge.cgroups, code, number, self.started_at)
        faults.point("shim.exit-seen")
        record.write(self.charge.state_dir)
        faults.point("shim.exit-written")
        self.exit = record
        self.phase = "exited"
        self.control.tell({"ev": "exited", "exit": _as_dict(record)})
        faults.point("shim.told")
        self.pump.finish()
        self._on_alone()

    def _release_network(self) -> None:
        if self.netlink >= 0:
            os.close(self.netlink)
            self.netlink = -1

    def _kill(self) -> None:
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _on_alone(self) -> None:
        """Nobody is connected (any more)?"""
        if not self.control.is_alone:
            return
        if self.phase == "exited":
            self.loop.running = False
        elif self.phase != "running" and "exec" not in self._begun:
            # A gate that nobody will open: the daemon died in the middle of a start, and its successor unwinds that.
            self._abort()

    # -- what daemons ask

    def _on_control(self, connection: Connection, message: Message, fds: list[int]) -> None:
        rid = message.get("rid")
        try:
            self._answer(connection, message, rid, fds)
        except (Failure, OSError, ValueError, KeyError) as e:
            number = e.number if isinstance(e, Failure) else getattr(e, "errno", None) or errno.EINVAL
            text = e.message if isinstance(e, Failure) else getattr(e, "strerror", None) or str(e)
            connection.send(_error(rid, number, text))
        finally:
            for fd in fds:
                os.close(fd)

    def _answer(self, connection: Connection, message: Message, rid: Any, fds: list[int]) -> None:
        """`fds` are closed by the caller, unless they are taken out of the list."""
        match message["op"]:
            case "go":
                self._go(connection, rid)
            case "abort":
                self._abort()
            case "release":
                if self.phase != "exited":
                    connection.send(_error(rid, errno.EBUSY, f"the container is {self.phase}"))
                    return
                self.loop.running = False
            case "state":
                connection.send({**self._state(), "rid": rid})
            case "netns":
                if self.netlink < 0:
                    connection.send(_error(rid, errno.ESRCH, "there is no network namespace of its own"))
                    return
                connection.send({"ev": "netns", "rid": rid}, (self.netlink,))
            case "attach":
                self._attach(self._pump_of(None), message, fds, tty=self.charge is not None and self.charge.tty)
                connection.send({"ev": "attached", "rid": rid})
            case "resize":
                self._pump_of(message.get("exec_id")).resize(message["rows"], message["cols"])
                connection.send({"ev": "resized", "rid": rid})
            case "exec":
                self._exec(connection, message, rid, fds)
            case other:
                connection.send(_error(rid, errno.ENOSYS, f"unknown operation {other}"))

    def _state(self) -> Message:
        return {
            "ev": "state",
            "phase": self.phase,
            "pid": self.pid,
            "start_time": self.start_time,
            "exit": _as_dict(self.exit) if self.exit else None,
            "execs": {k: {"pid": e.pid, "running": e.is_running, "code": e.code} for k, e in self.execs.items()},
            "stages": self.stages,
        }

    def _abort(self) -> None:
        self._kill()
        if self._midwife_pid:
            os.kill(self._midwife_pid, signal.SIGKILL)  # not reaped yet, so it is she
        if self._pidfd >= 0:
            try:
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            except ChildProcessError:
                pass
        # An init that was born just now and not heard of finds itself alone, and ends.
        self.loop.running = False

    def _pump_of(self, exec_id: str | None) -> Pump:
        if exec_id is None:
            if self.pump is None:
                raise Failure("namespaces", "the container is not known yet", errno.EAGAIN)
            return self.pump
        if exec_id not in self.execs:
            raise Failure("exec", f"No such exec instance: {exec_id}", errno.ENOENT)
        return self.execs[exec_id].pump

    def _attach(self, pump: Pump, wanted: Message, fds: list[int], *, tty: bool) -> None:
        keys = b""
        if tty and wanted["stdin"]:
            keys = parse_keys(wanted.get("detach_keys") or DEFAULT_DETACH_KEYS)
        wishes = Wishes(
            stdin=wanted["stdin"], stdout=wanted["stdout"], stderr=wanted["stderr"], framed=wanted["framed"], keys=keys
        )
        prefix = base64.b64decode(wanted.get("prefix") or "")
        client, *carrier = fds
        if carrier:  # a prefix that was too long for the message
            prefix = os.pread(carrier[0], os.fstat(carrier[0]).st_size, 0)
        fds.remove(client)
        pump.attach(client, wishes, prefix, logs=bool(wanted.get("logs")))

    def _exec(self, connection: Connection, message: Message, rid: Any, fds: list[int]) -> None:
        if self.phase != "running" or self.charge is None:
            raise Failure("exec", "the container is not running", errno.ESRCH)
        exec_id = message["exec_id"]
        process = protocol.load_process(message["process"])
        pump = Pump(self.loop, None, tty=process.tty, close_stdin=True)

        def started() -> None:
            connection.send({"ev": "exec_started", "exec_id": exec_id, "pid": new.pid, "rid": rid})

        def failed(failure: Failure) -> None:
            del self.execs[exec_id]
            connection.send(
                {
                    "ev": "exec_failed",
                    "exec_id": exec_id,
                    "errno": failure.number,
                    "message": failure.message,
                    "exit_code": failure.exit_code,
                    "rid": rid,
                }
            )

        def ended(code: int) -> None:
            over = [key for key, known in self.execs.items() if known.code is not None]
            for key in over[:-EXECS_REMEMBERED]:
                del self.execs[key]
            self.control.tell({"ev": "exec_exited", "exec_id": exec_id, "code": code})

        new = Exec(self.loop, pump, on_started=started, on_failed=failed, on_exit=ended)
        new.start(read_spec(self.charge.spec_path), process, self._pidfd)
        self.execs[exec_id] = new
        if message.get("attach") and fds:
            self._attach(pump, message["attach"], fds, tty=process.tty)


def _start_time(pid: int) -> int:
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    text = os.read(fd, 4096)
    os.close(fd)
    return int(text.rpartition(b")")[2].split()[19])


def _as_dict(record: ExitRecord) -> Message:
    return {
        "code": record.code,
        "signal": record.signal,
        "oom": record.oom,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def _error(rid: Any, number: int, message: str) -> Message:
    return {"ev": "error", "rid": rid, "errno": number, "message": message}
