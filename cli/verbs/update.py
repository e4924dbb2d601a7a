"""`hawse update`: limits and restart policy of containers that exist."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.container_flags import LIMITS
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.flags.limits import parse_restart
from hawse.cli.show.listing import each
from hawse.cli.wire.client import quote

_FIELDS = {
    "memory": "Memory",
    "memory-swap": "MemorySwap",
    "memory-reservation": "MemoryReservation",
    "cpus": "NanoCpus",
    "cpu-shares": "CpuShares",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "pids-limit": "PidsLimit",
    "blkio-weight": "BlkioWeight",
}


def _update(context: Context, options: Options, names: list[str]) -> int:
    """Only what was given is sent, so that the rest stays as it is."""
    body = {field: getattr(options, flag.replace("-", "_")) for flag, field in _FIELDS.items() if options.given(flag)}
    if options.given("restart"):
        try:
            body["RestartPolicy"] = parse_restart(options.restart)
        except ValueError as e:
            raise Failure(str(e)) from None
    if not body:
        raise Failure("you must provide one or more flags when using this command")

    def update(name: str) -> str:
        answer = context.client.post(f"/containers/{quote(name)}/update", body) or {}
        for warning in answer.get("Warnings") or ():
            print(f"WARNING: {warning}", file=sys.stderr)
        return name

    return each(names, update)


UPDATE = Command(
    _update,
    "CONTAINER [CONTAINER...]",
    least=1,
    flags=(
        *(flag for flag in LIMITS if flag.name in _FIELDS),
        Flag("restart", help="When to start it again: no, on-failure[:N], always, unless-stopped"),
    ),
    completes="container",
)
