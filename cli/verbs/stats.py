"""`hawse stats`: what containers use, once or again and again."""

from __future__ import annotations

import contextlib
import json
import select
import sys

from hawse.cli.context import Context
from hawse.cli.errors import ApiError
from hawse.cli.flags.flags import FORMAT, Command, Flag, Options
from hawse.cli.show.table import show
from hawse.cli.show.units import short_id, size
from hawse.cli.wire.client import Client, quote
from hawse.cli.wire.response import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADINGS = {
    "ID": "CONTAINER ID",
    "Container": "CONTAINER",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_TOP_LEFT, _REST_OF_LINE, _REST_OF_SCREEN = "\033[H", "\033[K", "\033[J"


def _stats(context: Context, options: Options, names: list[str]) -> int:
    client = context.client
    chosen = names or [one["Id"] for one in client.get("/containers/json", all=options.all or None)]
    if options.no_stream:
        paths = (("GET", f"/containers/{quote(name)}/stats", {"stream": False}) for name in chosen)
        rows = []
        failed = False
        for name, sample in zip(chosen, client.together(paths), strict=True):
            if isinstance(sample, ApiError):
                failed = True
                print(f"hawse: {sample.message}", file=sys.stderr)
            else:
                rows.append(row(name, sample, not options.no_trunc))
        show(rows, _HEADINGS, _COLUMNS, options.format)
        return int(failed)
    return _follow(client, chosen, options)


def _follow(client: Client, names: list[str], options: Options) -> int:
    """Follow one stream for each container; the screen is drawn anew when all have said something."""
    with contextlib.ExitStack() as stack:
        streams: dict[int, tuple[str, Response]] = {}
        for name in names:
            response = stack.enter_context(client.open("GET", f"/containers/{quote(name)}/stats", {"stream": True}))
            streams[response.sock.fileno()] = name, response
        latest: dict[str, dict[str, Any]] = {}
        rest = dict.fromkeys(streams, b"")
        fresh: set[int] = set()
        while streams:
            poller = select.poll()
            for fd in streams:
                poller.register(fd, select.POLLIN)
            ready = [fd for fd, (_, response) in streams.items() if response.buffer]
            for fd in ready or [fd for fd, _ in poller.poll()]:
                name, response = streams[fd]
                piece = response.read()
                if not piece:
                    del streams[fd]
                    latest.pop(name, None)
                    fresh.discard(fd)
                    continue
                *lines, rest[fd] = (rest[fd] + piece).split(b"\n")
                if lines:
                    latest[name] = row(name, json.loads(lines[-1]), not options.no_trunc)
                    fresh.add(fd)
            if latest and len(fresh) == len(streams):
                fresh.clear()
                _draw([latest[name] for name in names if name in latest], options.format)
    return 0


def _draw(rows: list[dict[str, Any]], format: str) -> None:
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(rows, _HEADINGS, _COLUMNS, format)
    if sys.stdout.isatty() and format != "json":
        body = text.getvalue().replace("\n", f"{_REST_OF_LINE}\n")
        sys.stdout.write(f"{_TOP_LEFT}{body}{_REST_OF_SCREEN}")
    else:
        sys.stdout.write(text.getvalue())
    sys.stdout.flush()


def row(name: str, sample: dict[str, Any], truncate: bool) -> dict[str, Any]:
    """Show one sample of the API as the fields of a template."""
    memory = sample.get("memory_stats") or {}
    used, limit = memory_in_use(memory), memory.get("limit") or 0
    networks = (sample.get("networks") or {}).values()
    received, sent = (sum(n.get(key) or 0 for n in networks) for key in ("rx_bytes", "tx_bytes"))
    blocks = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    read, written = (sum(b["value"] for b in blocks if b["op"].lower() == op) for op in ("read", "write"))
    return {
        "ID": short_id(sample.get("id") or "") if truncate else sample.get("id") or "",
        "Container": name,
        "Name": (sample.get("name") or "").removeprefix("/"),
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{size(used, binary=True)} / {size(limit, binary=True)}",
        "MemPerc": f"{used * 100 / limit if limit else 0:.2f}%",
        "NetIO": f"{size(received, precision=3)} / {size(sent, precision=3)}",
        "BlockIO": f"{size(read, precision=3)} / {size(written, precision=3)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current") or 0),
    }


def memory_in_use(memory: dict[str, Any]) -> int:
    """Without the page cache that can be dropped at once: `inactive_file` (v2), `total_inactive_file` (v1)."""
    usage = int(memory.get("usage") or 0)
    details = memory.get("stats") or {}
    for field in ("total_inactive_file", "inactive_file"):
        if 0 < (inactive := int(details.get(field) or 0)) < usage:
            return usage - inactive
    return usage


def cpu_percent(sample: dict[str, Any]) -> float:
    """Return the share of one CPU, so that two busy ones are 200 %."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    spent = _total(now) - _total(before)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    if spent <= 0 or passed <= 0:
        return 0.0
    cpus = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ()) or 1
    return float(spent / passed * cpus * 100)


def _total(cpu: dict[str, Any]) -> int:
    return int((cpu.get("cpu_usage") or {}).get("total_usage") or 0)


STATS = Command(
    _stats,
    "[CONTAINER...]",
    flags=(
        Flag("all", "a", "bool", "Also containers that do not run"),
        FORMAT,
        Flag("no-stream", kind="bool", help="Show it once"),
        Flag("no-trunc", kind="bool", help="Show ids in full"),
    ),
    completes="running",
)
