"""All that could be in the way of an install, looked at before anything is changed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.install import group, systemd
from hawse.cli.install.files import Found, found, not_writable
from hawse.cli.install.inventory import CONFIG, Item
from hawse.cli.install.manifest import Manifest
from hawse.cli.install.program import program_problems
from hawse.cli.wire.running import holder


def validate(
    context: Context, program: str, items: tuple[Item, ...], before: Manifest | None, *, now: bool
) -> Mapping[str, Found]:
    """Return what is at the path of each item.  Raises Failure that names everything that is in the way."""
    problems = program_problems(program)
    seen = {}
    for item in items:
        seen[item.path] = there = found(item.path, item.mark, before)
        if there is Found.FOREIGN and not item.config:
            problems.append(f"{item.path} is there already, and not by `hawse system install`: move it away")
        if reason := not_writable(item.path):
            problems.append(f"{item.path} cannot be made: {reason}")
    problems += filter(None, (group.problem(), _config_problem()))
    problems += systemd.problems() if systemd.is_installed() else []
    problems += _now_problems(context) if now else []
    if problems:
        raise Failure("\n  ".join(["nothing was changed, because", *problems]))
    return seen


def configured_group() -> str:
    """Raises OSError, and ValueError for a file that is not TOML."""
    with open(CONFIG, "rb") as file:
        return str(tomllib.load(file).get("group", ""))


def _config_problem() -> str:
    try:
        configured_group()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as e:
        return f"{CONFIG}: no daemon can read it: {e}"
    return ""


def _now_problems(context: Context) -> list[str]:
    if not systemd.is_running():
        return ["--now needs a running systemd. Without it: `hawse system install`, then `hawse daemon`"]
    pid = holder(context.run_dir)
    if pid and pid != systemd.main_pid():
        return [
            f"a daemon runs (pid {pid}) that systemd did not start: end it with `hawse system shutdown`; "
            "containers run on, and the next daemon takes them over"
        ]
    return []
