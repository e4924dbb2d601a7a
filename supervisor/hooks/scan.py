"""Hooks directories read: which files are hooks, and why others are not.

    hooks.d/<event>.d/NN-name    a program, run for that event
    hooks.d/NN-name.toml         a declaration (hook.declared)

The administrator's directory masks the vendor's by name; an empty file or a link to /dev/null masks and is nothing itself.
Root runs these files, so what anybody else could have written, or could swap, is refused: see `check`.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from hawse.supervisor.core.errors import HawseError, UserError
from hawse.supervisor.core.eventnames import EVENTS
from hawse.supervisor.hooks.hook import Hook, declared, script

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_LEFTOVER = re.compile(r".*(~|\.(bak|swp|tmp|new|dpkg-\w+|rpm\w+))\Z")  # of editors and package managers
_TOML_LIMIT = 64 << 10


@dataclass(slots=True)
class Scan:
    """Hooks in the order in which gates are asked, and name → why a file is none."""

    hooks: list[Hook] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    directories: list[Path] = field(default_factory=list)  # to be watched


def scan(admin: Path, vendor: Path) -> Scan:
    """Read both directories.  A bad file is a problem of its own and of nobody else."""
    found = Scan()
    files: dict[str, Path] = {}
    for base in (vendor, admin):
        files.update(_listed(base, found))
    for name in sorted(files, key=lambda name: (os.fsencode(Path(name).name), name)):
        try:
            if hook := _hook(name, files[name]):
                found.hooks.append(hook)
        except FileNotFoundError:
            continue  # gone since it was listed
        except HawseError as e:
            found.problems[name] = str(e)
        except OSError as e:
            found.problems[name] = e.strerror or str(e)
    return found


def _listed(base: Path, found: Scan) -> dict[str, Path]:
    """Name → path of everything that might be a hook."""
    if not base.is_dir():
        return {}
    found.directories.append(base)
    files: dict[str, Path] = {}
    for entry in sorted(base.iterdir()):
        if entry.name.startswith(".") or _LEFTOVER.match(entry.name):
            continue
        if entry.name.endswith(".toml"):
            files[entry.name] = entry
        elif entry.name.endswith(".d") and entry.name[:-2] in EVENTS and entry.is_dir():
            found.directories.append(entry)
            for program in sorted(entry.iterdir()):
                if not program.name.startswith(".") and not _LEFTOVER.match(program.name):
                    files[f"{entry.name}/{program.name}"] = program
        else:
            found.problems[entry.name] = "neither EVENT.d of a known event nor NAME.toml"
    return files


def _hook(name: str, path: Path) -> Hook | None:
    """None for a mask.  Raises UserError or OSError."""
    if path.is_symlink() and os.readlink(path) == "/dev/null":
        return None
    if not _NAME.match(path.name):
        raise UserError("its name may have letters, digits, '.', '_' and '-' only")
    fd = open_checked(path)
    try:
        status = os.fstat(fd)
        if not status.st_size:
            return None
        if not name.endswith(".toml") or "/" in name:
            _check_executable(status)
            return script(name, path, path.parent.name.removesuffix(".d"))
        try:
            table = tomllib.loads(os.read(fd, _TOML_LIMIT).decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise UserError(f"not valid TOML: {e}") from e
    finally:
        os.close(fd)
    hook = declared(name, path, table)
    if hook.command:
        os.close(open_program(Path(hook.command[0])))
    return hook


def open_program(path: Path) -> int:
    """The program that will be executed, by this descriptor and by nothing else.  Raises UserError or OSError."""
    fd = open_checked(path, follow=True)
    try:
        _check_executable(os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_checked(path: Path, *, follow: bool = False) -> int:
    """Open a file that only root can have written, in directories in which only root can swap it.

    What was opened is what is checked, so a later swap of the name changes nothing.  With `follow` links are followed, and
    the directories of the target count.
    """
    if follow:
        path = Path(os.path.realpath(path))
    for directory in (path.parent, *path.parent.parents):
        check(os.stat(directory), str(directory), own=directory == path.parent)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        if path.is_symlink():
            raise UserError("is a symbolic link; copy the file") from e
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise UserError("is no regular file")
        check(status, "it")
    except BaseException:
        os.close(fd)
        raise
    return fd


def check(status: os.stat_result, what: str, *, own: bool = True) -> None:
    """Root's, and nobody else can write.  A directory further up may be sticky (/tmp).  Raises UserError."""
    if status.st_uid != 0:
        raise UserError(f"{what} is not owned by root (uid {status.st_uid})")
    if status.st_mode & 0o022 and (own or not status.st_mode & stat.S_ISVTX):
        raise UserError(
            f"{what} is writable by others than its owner (mode {stat.S_IMODE(status.st_mode):04o})", hint="chmod go-w"
        )


def _check_executable(status: os.stat_result) -> None:
    if not status.st_mode & 0o111:
        raise UserError("is not executable", hint="chmod +x")
