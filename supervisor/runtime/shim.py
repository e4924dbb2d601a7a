"""One container's keeper: parent of its init, pump of its output, writer of its exit record.  Stdlib only.

    waiting ──init is set up──▶ ready ──go, exec──▶ running ──init ends──▶ exited
       └──────any failure──────────┴─────────────────────────────────────────▶ exited, without a record

It outlives the daemon that asked for it.  It leaves when it is released or aborted, or when it has nothing to keep and
nobody to tell: the container has ended (the record is on disk) or never started, and no daemon is connected.
"""

from __future__ import annotations

import base64
import errno
import os
import signal
import socket
import time
import traceback
from typing import Any, NoReturn

from hawse.supervisor.linux import syscalls
from hawse.supervisor.runtime import exits, protocol
from hawse.supervisor.runtime.attached import Wishes
from hawse.supervisor.runtime.birth import Birth, failed
from hawse.supervisor.runtime.control import Connection, Control, Message
from hawse.supervisor.runtime.exec_ import DRAIN_LIMIT, Exec
from hawse.supervisor.runtime.exits import ExitRecord
from hawse.supervisor.runtime.logwriter import LogWriter
from hawse.supervisor.runtime.loop import READ, Loop
from hawse.supervisor.runtime.plan import plan
from hawse.supervisor.runtime.program import Failure
from hawse.supervisor.runtime.protocol import ShimSpec
from hawse.supervisor.runtime.pump import Pump
from hawse.supervisor.runtime.terminal import DEFAULT_DETACH_KEYS, parse_keys


def main(spec_path: str, control: socket.socket) -> NoReturn:
    """The whole life of a shim, in a process of its own.  Never returns, never raises."""
    state_dir = ""
    try:
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_NAME, b"hawse-shim")
        # Its children inherit this until they exec: nothing inside a container may look into them.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        with open(spec_path) as f:
            spec = protocol.load_spec(f.read())
        state_dir = spec.state_dir
        Shim(spec, control).run()
        os._exit(0)
    except BaseException:
        _leave_word(state_dir)
        os._exit(1)


def _leave_word(state_dir: str) -> None:
    """A shim has no standard error that anybody reads."""
    try:
        fd = os.open(f"{state_dir}/shim.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, traceback.format_exc().encode())
    except OSError:
        pass


class Shim:
    def __init__(self, spec: ShimSpec, sock: socket.socket) -> None:
        self.spec = spec
        self.phase = "waiting"
        self.stages: dict[str, int] = {}
        self.exit: ExitRecord | None = None
        self.birth: Birth | None = None
        self.start_time = 0
        self.started_at = 0
        self.execs: dict[str, Exec] = {}
        self._begun: dict[str, int] = {}
        self._executing = False
        self._failure: Failure | None = None
        self._failure_told = False
        self.loop = Loop()
        self.control = Control(self.loop, self._on_control, self._on_alone)
        self.control.listen(spec.socket)
        self.control.add(sock, {"ev": "hello", "version": protocol.VERSION})
        log = LogWriter(spec.log_path, spec.log_max_size, spec.log_max_files)
        self.pump = Pump(self.loop, log, tty=spec.process.tty, close_stdin=spec.stdin_once)

    def run(self) -> None:
        try:
            self._bear()
        except Failure as e:
            self._fail(e)
        except OSError as e:
            self._fail(Failure("namespaces", e.strerror or str(e), e.errno or 0))
        self.loop.run()
        self.control.close()

    # -- the start

    def _bear(self) -> None:
        try:
            birth = Birth(self.spec, plan(self.spec))
        except ValueError as e:
            raise Failure("mounts", str(e)) from None
        self.birth = birth
        with self._stage("namespaces"):
            birth.clone()
            birth.map_ids()
            birth.receive_netlink()
        self.start_time = _start_time(birth.pid)
        netlink = (birth.netlink.fileno(),) if birth.netlink else ()
        self.control.tell(
            {"ev": "namespaces", "pid": birth.pid, "start_time": self.start_time}, (birth.pidfd, *netlink)
        )
        self.loop.watch(birth.pidfd, READ, lambda _: self._on_init_end())
        with self._stage("sources"):
            birth.pass_mounts()
        self.loop.watch(birth.channel.fileno(), READ, lambda _: self._on_init_message())

    def _stage(self, name: str) -> _Stage:
        return _Stage(self.stages, name)

    def _on_init_message(self) -> None:
        assert self.birth is not None
        message, fds = self.birth.receive()
        match message.get("ev"):
            case "ready":
                self.pump.open(fds)
                self.stages |= {stage: int(str(message[stage])) for stage in ("cgroup", "mounts")}
                self.phase = "ready"
                self._begun["gate"] = time.monotonic_ns()
                self.control.tell({"ev": "ready", "stages": self.stages})
                self.birth.hold_mounts()
            case "executing":
                self._executing = True
            case "failed":
                self._failure = failed(message)
            case None:
                self._on_init_channel_end()
            case _:
                for fd in fds:
                    os.close(fd)

    def _on_init_channel_end(self) -> None:
        """By exec, or by death; a death without any word is found by the pidfd."""
        assert self.birth is not None
        self.loop.forget(self.birth.channel.fileno())
        self.birth.channel.close()
        if self._executing and self._failure is None:
            self.stages["exec"] = (time.monotonic_ns() - self._begun["exec"]) // 1000
            self.phase = "running"
            self.started_at = time.time_ns()
            self.control.tell({"ev": "started", "stages": self.stages})

    def _go(self, connection: Connection, rid: Any) -> None:
        if self.phase != "ready" or self.birth is None or "exec" in self._begun:
            connection.send(_error(rid, errno.EBUSY, f"the container is {self.phase}"))
            return
        now = time.monotonic_ns()
        self.stages["gate"] = (now - self._begun["gate"]) // 1000
        self._begun["exec"] = now
        try:
            self.birth.open_gate()
        except Failure as e:
            self._fail(e)
        except OSError:
            pass  # init is dead, and its pidfd tells

    def _fail(self, failure: Failure) -> None:
        """Init shall not live on; what is to be told is told when it is dead."""
        self._failure = self._failure or failure
        if self.birth is None or self.birth.pidfd < 0:
            self._tell_failure()
        else:
            self.loop.watch(self.birth.pidfd, READ, lambda _: self._on_init_end())
            self._kill()

    def _tell_failure(self) -> None:
        failure = self._failure or failed({})
        self.phase = "exited"
        self._release_network()
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
        assert self.birth is not None
        ended = exits.reap(self.birth.pidfd)
        if ended is None:
            return
        self.loop.forget(self.birth.pidfd)
        # First of all: as long as this is open, so is the network namespace, and its veth stays.
        self._release_network()
        while self.phase != "running" and self.birth.channel.fileno() >= 0:
            self._on_init_message()
        if self.phase != "running":
            self._tell_failure()
            return
        self.pump.drain(DRAIN_LIMIT, lambda: self._record_exit(*ended))

    def _record_exit(self, code: int, number: int | None) -> None:
        record = exits.record(self.spec, code, number, self.started_at)
        record.write(self.spec.state_dir)
        self.exit = record
        self.phase = "exited"
        self.control.tell({"ev": "exited", "exit": _as_dict(record)})
        self.pump.finish()
        self._on_alone()

    def _release_network(self) -> None:
        if self.birth is not None and self.birth.netlink is not None:
            self.birth.netlink.close()
            self.birth.netlink = None

    def _kill(self) -> None:
        if self.birth is not None and self.birth.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.birth.pidfd, signal.SIGKILL)
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
            self._kill()

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
                if self.birth is None or self.birth.netlink is None:
                    connection.send(_error(rid, errno.ESRCH, "there is no network namespace of its own"))
                    return
                connection.send({"ev": "netns", "rid": rid}, (self.birth.netlink.fileno(),))
            case "attach":
                self._attach(self.pump, message, fds, tty=self.spec.process.tty)
                connection.send({"ev": "attached", "rid": rid})
            case "resize":
                self._pump_of(message.get("exec_id")).resize(message["rows"], message["cols"])
                connection.send({"ev": "resized", "rid": rid})
            case "exec":
                self._exec(connection, message, rid, fds)
            case other:
                connection.send(_error(rid, errno.ENOSYS, f"unknown operation {other}"))

    def _state(self) -> Message:
        birth = self.birth
        return {
            "ev": "state",
            "phase": self.phase,
            "pid": birth.pid if birth else 0,
            "start_time": self.start_time,
            "exit": _as_dict(self.exit) if self.exit else None,
            "execs": {k: {"pid": e.pid, "running": e.is_running, "code": e.code} for k, e in self.execs.items()},
            "stages": self.stages,
        }

    def _abort(self) -> None:
        self._kill()
        if self.birth is not None and self.birth.pidfd >= 0:
            try:
                os.waitid(os.P_PIDFD, self.birth.pidfd, os.WEXITED)
            except ChildProcessError:
                pass
        self.loop.running = False

    def _pump_of(self, exec_id: str | None) -> Pump:
        if exec_id is None:
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
        if self.phase != "running" or self.birth is None:
            raise Failure("exec", f"container {self.spec.id[:12]} is not running", errno.ESRCH)
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
            self.control.tell({"ev": "exec_exited", "exec_id": exec_id, "code": code})

        new = Exec(self.loop, pump, on_started=started, on_failed=failed, on_exit=ended)
        new.start(self.spec, process, self.birth.pidfd)
        self.execs[exec_id] = new
        if message.get("attach") and fds:
            self._attach(pump, message["attach"], fds, tty=process.tty)


class _Stage:
    """Measures one, in microseconds."""

    def __init__(self, stages: dict[str, int], name: str) -> None:
        self._stages, self._name = stages, name

    def __enter__(self) -> None:
        self._begun = time.monotonic_ns()

    def __exit__(self, *_: object) -> None:
        self._stages[self._name] = (time.monotonic_ns() - self._begun) // 1000


def _start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as f:
        return int(f.read().rpartition(b")")[2].split()[19])


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
