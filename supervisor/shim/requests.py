"""What daemons ask of a shim, and its answers.  Stdlib only."""

from __future__ import annotations

import base64
import errno
import os
from typing import TYPE_CHECKING, Any

from hawse.supervisor.shim import reaping, specs
from hawse.supervisor.shim.attached import Wishes
from hawse.supervisor.shim.control import Connection, Control, Message
from hawse.supervisor.shim.exec_ import Exec
from hawse.supervisor.shim.midwife import read_spec
from hawse.supervisor.shim.program import Failure
from hawse.supervisor.shim.pump import Pump
from hawse.supervisor.shim.terminal import DEFAULT_DETACH_KEYS, parse_keys

if TYPE_CHECKING:
    from typing import Protocol

    from hawse.supervisor.shim.loop import Loop
    from hawse.supervisor.shim.midwife import Charge
    from hawse.supervisor.shim.reaping import ExitRecord

    class Life(Protocol):
        """What requests see of the shim and ask of it.  A type alone: the shim loads nothing for it."""

        phase: str
        pid: int
        start_time: int
        exit: ExitRecord | None
        stages: dict[str, int]
        charge: Charge | None
        execs: dict[str, Exec]
        pump: Pump | None
        netlink: int
        pidfd: int
        loop: Loop
        control: Control

        def open_gate(self) -> bool: ...

        def abort(self) -> None: ...

        def leave(self) -> None: ...


EXECS_REMEMBERED = 32
"""Exit codes of ended execs that a daemon which comes later can still ask for."""


class Requests:
    def __init__(self, shim: Life) -> None:
        self._shim = shim

    def receive(self, connection: Connection, message: Message, fds: list[int]) -> None:
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
                if not self._shim.open_gate():
                    connection.send(_error(rid, errno.EBUSY, f"the container is {self._shim.phase}"))
            case "abort":
                self._shim.abort()
            case "release":
                if self._shim.phase != "exited":
                    connection.send(_error(rid, errno.EBUSY, f"the container is {self._shim.phase}"))
                    return
                self._shim.leave()
            case "state":
                connection.send({**self._state(), "rid": rid})
            case "netns":
                if self._shim.netlink < 0:
                    connection.send(_error(rid, errno.ESRCH, "there is no network namespace of its own"))
                    return
                connection.send({"ev": "netns", "rid": rid}, (self._shim.netlink,))
            case "attach":
                self._attach(
                    self._pump_of(None), message, fds, tty=self._shim.charge is not None and self._shim.charge.tty
                )
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
            "phase": self._shim.phase,
            "pid": self._shim.pid,
            "start_time": self._shim.start_time,
            "exit": reaping.as_dict(self._shim.exit) if self._shim.exit else None,
            "execs": {k: {"pid": e.pid, "running": e.is_running, "code": e.code} for k, e in self._shim.execs.items()},
            "stages": self._shim.stages,
        }

    def _pump_of(self, exec_id: str | None) -> Pump:
        if exec_id is None:
            if self._shim.pump is None:
                raise Failure("namespaces", "the container is not known yet", errno.EAGAIN)
            return self._shim.pump
        if exec_id not in self._shim.execs:
            raise Failure("exec", f"No such exec instance: {exec_id}", errno.ENOENT)
        return self._shim.execs[exec_id].pump

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
        if self._shim.phase != "running" or self._shim.charge is None:
            raise Failure("exec", "the container is not running", errno.ESRCH)
        exec_id = message["exec_id"]
        process = specs.load_process(message["process"])
        pump = Pump(self._shim.loop, None, tty=process.tty, close_stdin=True)

        def started() -> None:
            connection.send({"ev": "exec_started", "exec_id": exec_id, "pid": new.pid, "rid": rid})

        def failed(failure: Failure) -> None:
            del self._shim.execs[exec_id]
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
            over = [key for key, known in self._shim.execs.items() if known.code is not None]
            for key in over[:-EXECS_REMEMBERED]:
                del self._shim.execs[key]
            self._shim.control.tell({"ev": "exec_exited", "exec_id": exec_id, "code": code})

        new = Exec(self._shim.loop, pump, on_started=started, on_failed=failed, on_exit=ended)
        new.start(read_spec(self._shim.charge.spec_path), process, self._shim.pidfd)
        self._shim.execs[exec_id] = new
        if message.get("attach") and fds:
            self._attach(pump, message["attach"], fds, tty=process.tty)


def _error(rid: Any, number: int, message: str) -> Message:
    return {"ev": "error", "rid": rid, "errno": number, "message": message}
