"""The group whose members may use the socket."""

from __future__ import annotations

import grp
import pwd
import shutil
import subprocess

from hawse.cli.errors import Failure

GROUP = "hawse"  # as SocketGroup= in cli/install/packaged/hawse.socket and `group` in cli/install/packaged/hawse.toml


def exists() -> bool:
    return _entry() is not None


def problem() -> str:
    """Return why the group cannot be used as it is or be made, "" when it can."""
    entry = _entry()
    if entry is None:
        return "" if shutil.which("groupadd") else "there is no groupadd to make the group hawse with: install it"
    owners = sorted(user.pw_name for user in pwd.getpwall() if user.pw_gid == entry.gr_gid)
    if owners:
        return (
            f"the group {GROUP} is the own group of {', '.join(owners)}, who would be able to do what root can. "
            f"Rename it (groupmod --new-name), or give {'them' if len(owners) > 1 else 'the user'} another"
        )
    return ""


def members() -> list[str]:
    entry = _entry()
    return sorted(entry.gr_mem) if entry else []


def make() -> None:
    """Raises Failure."""
    _run("groupadd", "--system", GROUP)


def remove() -> None:
    """Raises Failure."""
    _run("groupdel", GROUP)


def _entry() -> grp.struct_group | None:
    try:
        return grp.getgrnam(GROUP)
    except KeyError:
        return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(command)} failed (exit code {done.returncode}): {done.stderr.strip()}")
