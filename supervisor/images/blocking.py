"""What the verbs of images let a thread do: the disk takes its time."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hawse.supervisor.core.errors import KernelError
from hawse.supervisor.images.layers import Layers
from hawse.supervisor.linux import threads
from hawse.supervisor.linux.tree import remove_tree

T = TypeVar("T")


async def in_thread(op: str, work: Callable[[], T]) -> T:
    """Raises KernelError instead of OSError, with the file in question."""
    try:
        return await threads.run_sync(work)
    except OSError as e:
        raise KernelError(op, e.errno or errno.EIO, str(e.filename or "")) from e


async def remove(layers: Layers, path: Path) -> None:
    """Take it away at once, and then do what that means.  Gone is success."""
    rubbish = layers.discard(path)
    if rubbish is not None:
        await in_thread("rm", lambda: remove_tree(rubbish))
