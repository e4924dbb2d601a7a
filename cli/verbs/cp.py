"""`hawse cp`: what goes where, by Docker's rules (those of cp -a, with SRC/. for the content of a directory)."""

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys
from collections.abc import Iterator

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire.client import quote
from hawse.cli.wire.response import Response
from hawse.supervisor.api import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hawse.cli.files.destination import Destination

_DIRECTORY, _LINK = 1 << 31, 1 << 27  # Go's mode bits, which the path stat carries


def _cp(context: Context, options: Options, arguments: list[str]) -> int:
    source, target = arguments
    for what, argument in (("source", source), ("destination", target)):
        if not argument:
            raise Failure(f"{what} can not be empty")
    from_container, from_path = _split(source)
    to_container, to_path = _split(target)
    if from_container and to_container:
        raise Failure("copying between containers is not supported")
    if not from_container and not to_container:
        raise Failure("must specify at least one container source")
    if from_container:
        return _out(context, options, from_container, from_path, to_path)
    return _in(context, options, from_path, to_container, to_path)


def _split(argument: str) -> tuple[str, str]:
    """(container, path); no container for a local path: an absolute one, or one that begins with a dot."""
    container, colon, path = argument.partition(":")
    if not colon or argument.startswith(("/", ".")) or not container:
        return "", argument
    return container, path


def _archive(container: str) -> str:
    return f"/containers/{quote(container)}/archive"


def _stat(context: Context, container: str, path: str) -> dict[str, Any]:
    """Return what is at that path inside.  Raises ApiError (404: nothing, or no such container)."""
    with context.client.open("HEAD", _archive(container), {"path": path}) as response:
        return _path_stat(response)


def _path_stat(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(response.headers[wire.PATH_STAT.lower()]))
    return found


def _linked(context: Context, container: str, path: str) -> tuple[str, dict[str, Any]]:
    """Return where a link at the end of the path leads."""
    found = _stat(context, container, path)
    if found["mode"] & _LINK and found.get("linkTarget"):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path.rstrip("/")), found["linkTarget"]))
        found = _stat(context, container, path)
    return path, found


def _out(context: Context, options: Options, container: str, path: str, local: str) -> int:
    """Container to host."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    base = posixpath.basename(clean)
    content_only = path.endswith("/.") or not base
    if base and path.endswith(("/", "/.")):  # the daemon then goes through a link at the end
        clean += "/"
    if local == "-":
        clean = _followed(context, options, container, clean)
        with context.client.open("GET", _archive(container), {"path": clean}) as response:
            for piece in response:
                sys.stdout.buffer.write(piece)
        return 0
    from hawse.cli.files.unpacking import unpack

    with _destination(local) as there:
        clean = _followed(context, options, container, clean)
        with context.client.open("GET", _archive(container), {"path": clean}) as response:
            is_directory = bool(_path_stat(response)["mode"] & _DIRECTORY)
            name = _place(there, local, base, is_directory, content_only)
            size = unpack(response, there.directory, name, rooted=clean != "/", keep_owner=options.archive)
    _done(options, size, local)
    return 0


def _followed(context: Context, options: Options, container: str, path: str) -> str:
    return _linked(context, container, path)[0] if options.follow_link else path


def _destination(local: str) -> Destination:
    """Return where to write.  Raises Failure for what a copy cannot take the place of."""
    from hawse.cli.files.destination import resolve

    try:
        there = resolve(local)
    except FileNotFoundError as e:
        raise Failure(f'invalid output path: directory "{e.filename}" does not exist') from None
    if there.special:
        with there:
            what = "a device" if there.is_device else there.special
            raise Failure(f'invalid output path: "{local}" must be a directory or a regular file: got {what}')
    return there


def _place(there: Destination, local: str, base: str, is_directory: bool, content_only: bool) -> str | None:
    """Return what the top entry is called in the destination's directory; None: its content goes there.  Raises Failure."""
    if there.is_directory:
        there.enter()
        return None if is_directory and content_only else base
    if there.found is not None and is_directory:
        raise Failure("cannot copy directory")
    if local.endswith("/") and not is_directory:
        raise Failure(f"no such directory: {local}")
    return there.name


def _in(context: Context, options: Options, local: str, container: str, path: str) -> int:
    """Host to container."""
    path = posixpath.join("/", path)
    try:
        path, there = _linked(context, container, path)
    except ApiError as e:
        if e.status != 404:
            raise
        there = None  # or there is no such container, which the upload will be told
    is_directory = there is not None and bool(there["mode"] & _DIRECTORY)
    query = {"noOverwriteDirNonDir": True, "copyUIDGID": options.archive or None}
    if local == "-":
        if not is_directory:
            raise Failure(f'destination "{container}:{path}" must be a directory')
        _put(context, container, path, query, iter(lambda: os.read(0, 1 << 18), b""))
        return 0
    from hawse.cli.files.packing import pack

    if not os.path.lexists(local):
        raise Failure(f"lstat {local}: no such file or directory")
    follow = options.follow_link or local.endswith(("/", "/."))
    source_is_directory = os.path.isdir(local) and (follow or not os.path.islink(local))
    directory, name = path, os.path.basename(os.path.abspath(local))
    if is_directory:
        name = "." if source_is_directory and local.endswith("/.") else name
    else:
        if there is not None and source_is_directory:
            raise Failure(f'cannot copy a directory to the file "{container}:{path}"')
        if there is None and path.endswith("/") and not source_is_directory:
            raise Failure(f'destination directory "{container}:{path}" does not exist')
        directory, name = posixpath.split(path.rstrip("/"))
    top = local if not source_is_directory else local.rstrip("/").removesuffix("/.") or "/"
    counted = _Counted(pack(top, name, keep_owner=options.archive, follow=follow))
    _put(context, container, directory, query, counted)
    _done(options, counted.total, f"{container}:{path}")
    return 0


def _put(context: Context, container: str, path: str, query: dict[str, Any], content: Iterator[bytes]) -> None:
    with context.client.open("PUT", _archive(container), {"path": path, **query}, content=content):
        pass


class _Counted:
    """An iterator that knows how much went through it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.total = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.total += len(piece)
        return piece


def _done(options: Options, size: int, where: str) -> None:
    if sys.stderr.isatty() and not options.quiet:
        from hawse.cli.show.units import size as shown

        print(f"Successfully copied {shown(size, precision=3)} to {where}", file=sys.stderr)


CP = Command(
    _cp,
    "CONTAINER:SRC_PATH DEST_PATH|-  or  SRC_PATH|- CONTAINER:DEST_PATH",
    least=2,
    most=2,
    flags=(
        Flag("archive", "a", "bool", "Keep the owners"),
        Flag("follow-link", "L", "bool", "Copy what a link leads to, not the link"),
        Flag("quiet", "q", "bool", "Do not say how much was copied"),
    ),
    completes="container-path",
    note="'-' reads or writes a tar archive. SRC_PATH/. means the content of a directory. A DEST_PATH of the host that is a "
    "link is followed; links below it are replaced, and devices, FIFOs and sockets that it names are refused.",
)
