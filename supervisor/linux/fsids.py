"""Making files as a container's root does, from the daemon: for one thread, for the length of a block.

A file gets its owner from the thread's fsuid.  That matters twice: through an id-mapped mount an owner that the map lacks
cannot be created at all (EOVERFLOW), and what the host's root creates belongs to nobody inside.  The kernel drops the file
capabilities of a thread whose fsuid stops being 0 (setfsuid(2)); they are taken up again, because it is the daemon that
acts, and it must also reach what the container's root could not write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hawse.supervisor.linux.syscalls import capset, libc, permitted


@contextmanager
def files_owned_by(base: int | None) -> Iterator[None]:
    """`base`: the host id of the container's root; None leaves everything as it is.  Never in the event loop's thread."""
    if base is None:
        yield
        return
    assert threading.current_thread() is not threading.main_thread()
    _set(base)
    try:
        everything = permitted()
        capset(everything, everything, 0)
        yield
    finally:
        _set(0)


def _set(number: int) -> None:
    """Both only report what was before; glibc changes the calling thread alone."""
    libc.setfsgid(number)
    libc.setfsuid(number)
