"""--cidfile: a new file with the id of the container, made before it, so that there is no container whose id is nowhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hawse.cli.errors import Failure
from hawse.cli.files.destination import Destination, resolve
from hawse.cli.flags.flags import USAGE_ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


@contextmanager
def cidfile(path: str) -> Iterator[BinaryIO]:
    """The file to write to within the block; gone again when the block fails.  Raises Failure when it cannot be new."""
    try:
        there = resolve(path)
    except OSError as e:
        raise _not_created(path, e) from None
    with there:
        if there.found is not None:
            message = f"container ID file found, make sure the other container isn't running or delete {path}"
            raise Failure(message, USAGE_ERROR)
        with _created(there, path) as file:
            try:
                yield file
            except BaseException:
                there.remove()
                raise


def _created(there: Destination, path: str) -> BinaryIO:
    try:
        if path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return there.create()
    except OSError as e:
        raise _not_created(path, e) from None


def _not_created(path: str, error: OSError) -> Failure:
    reason = (error.strerror or str(error)).lower()
    return Failure(f"failed to create the container ID file: open {path}: {reason}", USAGE_ERROR)
