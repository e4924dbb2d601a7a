"""Endpoints that show what a running container does: top, stats."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
from aiohttp import web

from hawse.supervisor.api import wire
from hawse.supervisor.api.call import Call
from hawse.supervisor.api.endpoints import look
from hawse.supervisor.api.endpoints.look import Seen
from hawse.supervisor.core.errors import NotFound, UserError
from hawse.supervisor.core.events import rfc3339
from hawse.supervisor.core.model import ID_RANGE, Container
from hawse.supervisor.lifecycle.running import check_running
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.cgroup import Cgroup
from hawse.supervisor.linux.cgroup_stats import Stats
from hawse.supervisor.linux.procfs import Process, Traffic, machine_cpu_ns, machine_memory, processes, traffic

Sample = dict[str, Any]

_FULL = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_LONG = ("USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND")
_SHORT = ("PID", "TTY", "TIME", "CMD")
_FORMATS = {"-ef": _FULL, "ef": _FULL, "-f": _FULL, "aux": _LONG, "-aux": _LONG, "waux": _LONG, "-e": _SHORT, "": _FULL}


async def top(call: Call) -> web.StreamResponse:
    """GET /containers/X/top?ps_args=: pids are the host's, users the container's own."""
    columns = _columns(call.query.text("ps_args"))
    container = await call.engine.container(call.ref)
    check_running(container)
    pids = Cgroup.open(call.engine.parts.cgroups, container.id).pids()
    now = time.time()
    found = await threads.run_sync(processes, pids)  # may be very many, and to read of one may take long
    lines = [[_cell(column, p, container, now) for column in columns] for p in found]
    titles = ["COMMAND" if column == "COMM" else column for column in columns]  # ps(1) has one heading for both
    return call.json({"Titles": titles, "Processes": lines})


def _columns(arguments: str) -> tuple[str, ...]:
    """ps(1)'s usual forms: -ef, aux, -o LIST, which may stand behind -e and the like, and be given in several parts."""
    words = arguments.replace(",", " ").split()
    while len(words) > 1 and words[0] in _EVERYBODY and words[1] in _LISTS:
        del words[0]
    if words and words[0] in _LISTS:
        columns = tuple(_ALIASES.get(word.lower(), word.upper()) for word in words if word not in _LISTS)
        if unknown := next((c for c in columns if c not in _CELLS), None):
            raise UserError(f"invalid ps_args: no column {unknown}", hint=f"known: {', '.join(sorted(_CELLS))}")
        if columns:
            return columns
    if (found := _FORMATS.get(" ".join(words))) is None:
        raise UserError(f"invalid ps_args: {arguments!r}", hint="-ef, aux or -o COLUMN,...")
    return found


_LISTS = ("-o", "o", "-eo", "-Ao", "axo")
_EVERYBODY = ("-e", "-A", "a", "x", "ax")
_ALIASES = {
    "args": "COMMAND",
    "cmd": "CMD",
    "command": "COMMAND",
    "ucmd": "COMM",
    "pcpu": "%CPU",
    "pmem": "%MEM",
    "stime": "STIME",
    "s": "STAT",
}


def _cell(column: str, process: Process, container: Container, now: float) -> str:
    return _CELLS[column](process, container, now)


def _user(process: Process, container: Container, now: float) -> str:
    base = container.uid_base
    inside = process.uid - base if base is not None and 0 <= process.uid - base < ID_RANGE else process.uid
    return "root" if inside == 0 else str(inside)


def _share(process: Process, _: Container, now: float) -> str:
    return f"{100 * process.cpu / max(now - process.started, 0.01):.1f}"


def _terminal(process: Process, *_: object) -> str:
    if process.terminal == 0:
        return "?"
    return f"pts/{os.minor(process.terminal)}" if os.major(process.terminal) == 136 else "tty"


def _began(process: Process, _: Container, now: float) -> str:
    moment = datetime.fromtimestamp(process.started)
    return f"{moment:%H:%M}" if now - process.started < 86_400 else f"{moment:%b%d}"


def _clock(process: Process, *_: object) -> str:
    seconds = int(process.cpu)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


_CELLS: dict[str, Callable[[Process, Container, float], str]] = {
    "UID": _user,
    "USER": _user,
    "PID": lambda p, *_: str(p.pid),
    "PPID": lambda p, *_: str(p.ppid),
    "C": lambda p, c, now: str(int(float(_share(p, c, now)))),
    "%CPU": _share,
    "%MEM": lambda p, *_: f"{100 * p.resident / machine_memory():.1f}",
    "VSZ": lambda p, *_: str(p.virtual // 1024),
    "RSS": lambda p, *_: str(p.resident // 1024),
    "NI": lambda p, *_: str(p.nice),
    "NLWP": lambda p, *_: str(p.threads),
    "STAT": lambda p, *_: p.state,
    "STIME": _began,
    "START": _began,
    "TTY": _terminal,
    "TIME": _clock,
    "CMD": lambda p, *_: p.command,
    "COMMAND": lambda p, *_: p.command,
    "COMM": lambda p, *_: p.name,
}


async def stats(call: Call) -> web.StreamResponse:
    """GET /containers/X/stats: one sample a second, or one with stream=0 (two readings apart, unless one-shot)."""
    seen = await look.one(call.engine, call.ref)
    if not call.query.flag("stream", default=True):
        before = None
        if not call.query.flag("one-shot"):
            before = await _sample(call, seen, None)
            await anyio.sleep(1)
        return call.json(await _sample(call, seen, before))
    async with call.stream(wire.JSON) as out:
        before = None
        while True:
            before = await _sample(call, seen, before)
            await out.line(before)
            await anyio.sleep(1)
            try:
                seen = await look.one(call.engine, seen.container.id)
            except NotFound:
                break  # removed: the end of its statistics, not an error
    return out.response


async def _sample(call: Call, seen: Seen, before: Sample | None) -> Sample:
    """Docker's shape; the previous sample's cpu time goes with it, so that clients can show a share."""
    container = seen.container
    running = container.state.is_running
    used = Cgroup.open(call.engine.parts.cgroups, container.id).stats() if running else Stats()
    networks = {e.ifname: _seen_from_inside(traffic(e.veth)) for e in seen.endpoints} if running else {}
    sample: Sample = {
        "name": f"/{container.name}",
        "id": container.id,
        "read": rfc3339(call.engine.parts.clock()),
        "preread": before["read"] if before else rfc3339(0),
        "num_procs": 0,
        "pids_stats": {"current": used.pids, "limit": used.pids_limit} if running else {},
        "cpu_stats": _cpu(used, running),
        "precpu_stats": before["cpu_stats"] if before else _cpu(Stats(), False),
        "memory_stats": _memory(used) if running else {},
        "blkio_stats": _blocks(used),
        "storage_stats": {},
    }
    return sample | ({"networks": networks} if networks else {})


def _cpu(used: Stats, running: bool) -> Sample:
    view: Sample = {
        "cpu_usage": {
            "total_usage": used.cpu_ns,
            "usage_in_kernelmode": used.cpu_system_ns,
            "usage_in_usermode": used.cpu_user_ns,
        },
        "throttling_data": {
            "periods": used.periods,
            "throttled_periods": used.throttled_periods,
            "throttled_time": used.throttled_ns,
        },
    }
    return view | ({"system_cpu_usage": machine_cpu_ns(), "online_cpus": os.cpu_count() or 1} if running else {})


def _memory(used: Stats) -> Sample:
    return {
        "usage": used.memory,
        "max_usage": used.memory_peak,
        "stats": used.memory_stat,
        "limit": used.memory_limit or machine_memory(),
        "failcnt": used.oom_kills,
    }


def _blocks(used: Stats) -> Sample:
    def rows(read: str, written: str) -> list[Sample] | None:
        return [
            {"major": b.major, "minor": b.minor, "op": op, "value": getattr(b, field)}
            for b in used.blocks
            for op, field in (("read", read), ("write", written))
        ] or None

    return {
        "io_service_bytes_recursive": rows("read_bytes", "written_bytes"),
        "io_serviced_recursive": rows("reads", "writes"),
    }


def _seen_from_inside(outside: Traffic) -> Sample:
    """The counters are those of the host's end of the cable: what it sends is what the container receives."""
    return {
        f"{inside}_{what}": getattr(outside, f"{host}_{what}")
        for inside, host in (("rx", "tx"), ("tx", "rx"))
        for what in ("bytes", "packets", "errors", "dropped")
    }
