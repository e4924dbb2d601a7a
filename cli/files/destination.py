"""A path of the host that the user named to write to: where it leads, held by a descriptor of the directory there.

The path as it was typed may be a link and is followed, as a shell's `>` would.  What is then done is done through the
descriptor: whoever swaps a directory for a link meanwhile moves nothing of ours.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager

from hawse.cli.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

HOLD = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Opens a directory only to reach what is in it: leave to read it is not needed."""
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_SYMLINKS = 40  # as the kernel's own (path_resolution(7))
_SHARED = stat.S_ISVTX | stat.S_IWOTH
_SPECIAL = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device file",
    stat.S_IFBLK: "a block device file",
}


class Destination:
    """`name` in the open `directory`; `found` is what is there, never a link, or None.  Closes itself as a context."""

    def __init__(self, directory: int, name: str, found: os.stat_result | None) -> None:
        self.directory, self.name, self.found = directory, name, found

    def __enter__(self) -> Destination:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    @property
    def is_directory(self) -> bool:
        return self.found is not None and stat.S_ISDIR(self.found.st_mode)

    @property
    def special(self) -> str:
        """Return what is there when it is neither a regular file nor a directory."""
        return "" if self.found is None else _SPECIAL.get(stat.S_IFMT(self.found.st_mode), "")

    @property
    def is_device(self) -> bool:
        return self.found is not None and (stat.S_ISCHR(self.found.st_mode) or stat.S_ISBLK(self.found.st_mode))

    def enter(self) -> None:
        """Hold the directory that is there instead of the one it is in."""
        above, self.directory = self.directory, os.open(self.name, HOLD | os.O_NOFOLLOW, dir_fd=self.directory)
        os.close(above)

    def create(self, mode: int = 0o666) -> BinaryIO:
        """A new file.  Raises FileExistsError."""
        return open(os.open(self.name, NEW, mode, dir_fd=self.directory), "wb")

    @contextmanager
    def replaced(self) -> Iterator[BinaryIO]:
        """A file that takes the place of what is there when the block ends well: whole or not at all, and its owner's alone."""
        unfinished = Destination(self.directory, f".hawse-{os.urandom(4).hex()}.part", None)
        with unfinished.create(0o600) as file:
            try:
                yield file
                file.flush()
                os.replace(unfinished.name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            except BaseException:
                unfinished.remove()
                raise

    def remove(self) -> None:
        os.unlink(self.name, dir_fd=self.directory)


def resolve(path: str) -> Destination:
    """Follow the links at the end of the path, one by one.

    Raises OSError, FileNotFoundError naming the directory that is not there; Failure for a link that must not or cannot be
    followed by its text, such as /dev/stdout on a pipe.
    """
    where, name = _split(path)
    directory = _hold(where, None, where)
    try:
        for _ in range(_MAX_SYMLINKS + 1):
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                found = None
            if found is None or not stat.S_ISLNK(found.st_mode):
                break
            _refuse_planted(path, directory, found)
            head, name = _split(os.readlink(name, dir_fd=directory))
            where = os.path.join(where, head)
            above, directory = directory, _hold(head, directory, where)
            os.close(above)
        else:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        _compare(path, found)
    except BaseException:
        os.close(directory)
        raise
    return Destination(directory, name, found)


def _split(path: str) -> tuple[str, str]:
    head, name = os.path.split(path.rstrip("/"))
    return (head or ".", name) if name or not path else ("/", ".")


def _hold(path: str, above: int | None, where: str) -> int:
    try:
        return os.open(path, HOLD, dir_fd=above)
    except OSError as e:
        raise OSError(e.errno, e.strerror, os.path.abspath(where)) from None


def _refuse_planted(path: str, directory: int, link: os.stat_result) -> None:
    """The kernel's own rule for links in /tmp (fs.protected_symlinks, proc_sys_fs(5)), which reading them goes round."""
    above = os.fstat(directory)
    if above.st_mode & _SHARED == _SHARED and link.st_uid not in (os.geteuid(), above.st_uid):
        raise Failure(
            f"{path}: not followed, it is a link that another user (uid {link.st_uid}) has made where everybody may write"
        )


def _compare(path: str, found: os.stat_result | None) -> None:
    """Check that the kernel comes to what we came to: the text of a link in /proc need not be where it leads.

    Raises NotADirectoryError for a slash behind what is none.
    """
    try:
        seen = os.stat(path)
    except FileNotFoundError:
        seen = None
    if (seen is None) != (found is None) or (seen and found and not os.path.samestat(seen, found)):
        raise Failure(f"{path}: leads to what has no path of its own, such as a pipe; name a file or a directory")
