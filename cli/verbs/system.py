"""`hawse info`, `version`, and `hawse system shutdown`."""

from __future__ import annotations

import json
import os
import sys

from hawse.cli.context import Context
from hawse.cli.errors import Disconnected, Failure, NoDaemon
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.show.table import coloured, painted
from hawse.cli.show.units import size
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = Flag("format", "f", help="json, or a template")


def _version(context: Context, options: Options, _: list[str]) -> int:
    client = {
        "Version": wire.VERSION,
        "ApiVersion": wire.API_VERSION,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "Os": "linux",
        "Arch": os.uname().machine,
    }
    context.autostart = False  # asking which version runs is no reason to run one
    server: dict[str, Any] | None = None
    problem: Failure | None = None
    try:
        server = context.client.get("/version")
    except (NoDaemon, Disconnected) as e:
        problem = e
    both = {"Client": client, "Server": server}
    if options.format:
        _formatted(both, options.format)
    else:
        print("Client:")
        print(_fields([("Version", client["Version"]), ("API version", client["ApiVersion"])]))
        print(_fields([("Python version", client["Python"]), ("OS/Arch", f"{client['Os']}/{client['Arch']}")]))
        if server is not None:
            print("\nServer:")
            api = f"{server['ApiVersion']} (minimum version {server['MinAPIVersion']})"
            print(_fields([("Version", server["Version"]), ("API version", api)]))
            print(_fields([("Kernel", server["KernelVersion"]), ("OS/Arch", f"{server['Os']}/{server['Arch']}")]))
    if problem is not None:
        raise problem
    return 0


def _info(context: Context, options: Options, _: list[str]) -> int:
    native = context.client.get(f"{wire.NATIVE}/info")
    if options.format:
        _formatted({**context.client.get("/info"), "Hawse": native}, options.format)
        return 0
    docker = context.client.get("/info")
    counts = native["counts"]
    print("Client:")
    print(_fields([("Version", wire.VERSION), ("Socket", context.socket_path)]))
    print("\nServer:")
    print(
        _fields(
            [
                ("Version", native["version"]),
                ("API version", native["api_version"]),
                ("Kernel", native["kernel"]),
                ("Operating system", docker.get("OperatingSystem", "")),
                ("Python", native["python"]),
                ("CPUs", docker.get("NCPU", "")),
                ("Total memory", size(docker.get("MemTotal", 0), binary=True)),
                ("Cgroup version", docker.get("CgroupVersion", "")),
                ("State directory", native["root"]),
                ("Run directory", native["run_dir"]),
                ("Instance", native["instance"] or "(the default one)"),
                ("Durable answers", "on" if native["durable"] else "off"),
                ("Newest event", native["cursor"]),
                ("Oldest event kept", native["oldest_cursor"]),
            ]
        )
    )
    print("\nCounts:")
    print(_fields([(name.capitalize(), number) for name, number in counts.items()]))
    for warning in native["warnings"]:  # docker's have what is missing as well, which comes below
        print(f"WARNING: {warning}", file=sys.stderr)
    print("\nFeatures:")
    print("\n".join(_features(native["features"])))
    return 0


def _features(features: list[dict[str, Any]]) -> list[str]:
    """Return what the kernel and the libraries offer, and what the lack of each costs."""
    colour = coloured()
    lines = []
    for feature in features:
        mark = "yes" if feature["found"] else "no"
        if colour:
            mark = painted(mark, "green" if feature["found"] else "yellow")
        cost = "" if feature["found"] else f": {feature['costs']}"
        cost += f"; {feature['remedy']}" if not feature["found"] and feature["remedy"] else ""
        detail = f" ({feature['detail']})" if feature["detail"] else ""
        lines.append(f" {feature['name']}: {mark}{detail}{cost}")
    return lines


def _fields(pairs: list[tuple[str, Any]]) -> str:
    return "\n".join(f" {name}: {value}" for name, value in pairs)


def _formatted(data: dict[str, Any], format: str) -> None:
    if format == "json":
        print(json.dumps(data, ensure_ascii=False))
        return
    from hawse.cli.show.template import Template

    print(Template(format).render(data))


def _shutdown(context: Context, options: Options, _: list[str]) -> int:
    """Returns when the daemon has ended."""
    import select

    context.autostart = False
    # Asked and not signalled: with socket activation the listener may be systemd, and is nobody to kill.
    path = f"{wire.NATIVE}/shutdown" + ("?stop_all=1" if options.stop_all else "")
    pid = int(context.client.post(path)["pid"])
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        pass  # it was quicker than we (pidfd_open(2): ESRCH, or EINVAL while it is being reaped)
    else:
        try:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            if not ended.poll(options.timeout * 1000):
                raise Failure(f"the daemon (pid {pid}) has not ended after {options.timeout} s")
        finally:
            os.close(pidfd)
    print(
        f"the daemon (pid {pid}) has ended{'' if options.stop_all else '; running containers go on'}", file=sys.stderr
    )
    return 0


VERSION = Command(_version, most=0, flags=(_FORMAT,))
INFO = Command(_info, most=0, flags=(_FORMAT,))
SHUTDOWN = Command(
    _shutdown,
    most=0,
    flags=(
        Flag("stop-all", kind="bool", help="Stop all containers first"),
        Flag("timeout", "t", "int", "Seconds to wait until it has ended", default=60),
    ),
    note="Containers go on without it; the next daemon takes them over. --stop-all stops them; restart policies then start "
    "theirs again with the next daemon.",
)
