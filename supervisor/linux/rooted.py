"""Paths inside a container's root, resolved so that no symlink of the image ever leads outside.

`open_path` looks up, `ensure` also creates what is missing.  Everything is relative to a descriptor of the root; the path
of the root in the host is never used again.  Stdlib only: the child side imports it.
"""

from __future__ import annotations

import errno
import os
import stat

from hawse.supervisor.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

MAX_SYMLINKS = 40  # as the kernel's own (path_resolution(7))


def open_path(root: int, path: str, flags: int = os.O_PATH, resolve: int = 0) -> int:
    """An open descriptor of `path` as a process inside would see it.  Raises OSError."""
    return openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve)


def ensure(root: int, path: str, *, directory: bool, mode: int = 0o755) -> int:
    """An O_PATH descriptor of `path`, made as a directory or as an empty file where it is missing.

    Raises OSError: NotADirectoryError or IsADirectoryError when something of the other kind is there.
    """
    try:
        fd = open_path(root, path)
    except FileNotFoundError:
        _create(root, path, directory=directory, mode=mode)
        # Once more by the kernel's rules: the walk by hand takes a magic link of /proc for a link to what its text says.
        fd = open_path(root, path)
    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    if is_directory != directory:
        os.close(fd)
        number = errno.EISDIR if is_directory else errno.ENOTDIR
        raise OSError(number, f"{path}: {os.strerror(number)}")
    return fd


def _create(root: int, path: str, *, directory: bool, mode: int) -> None:
    """Walk component by component, making what is missing; symlinks are followed by hand, ".." never leaves the root."""
    todo = [c for c in reversed(path.split("/")) if c not in ("", ".")]
    trail = [os.dup(root)]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name == "..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            here = trail[-1]
            try:
                fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            except FileNotFoundError:
                _make(here, name, directory=directory or bool(todo), mode=mode)
                fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                trail.append(fd)
                continue
            os.close(fd)
            links += 1
            if links > MAX_SYMLINKS:
                raise OSError(errno.ELOOP, f"{path}: {os.strerror(errno.ELOOP)}")
            goal = os.readlink(name, dir_fd=here)
            if goal.startswith("/"):
                while len(trail) > 1:
                    os.close(trail.pop())
            todo.extend(c for c in reversed(goal.split("/")) if c not in ("", "."))
    except OSError as e:
        raise OSError(e.errno, f"create {path}: {os.strerror(e.errno or 0)}") from None
    finally:
        for fd in trail:
            os.close(fd)


def _make(here: int, name: str, *, directory: bool, mode: int) -> None:
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=here)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=here))
    except FileExistsError:
        pass  # somebody with whom a volume is shared was quicker
