"""Containers and images as tar archives: `import`, `export`, and `commit`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.verbs.images import split_tag
from hawse.cli.wire.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from hawse.cli.files.destination import Destination

_PIECE = 1 << 18


def _import(context: Context, options: Options, arguments: list[str]) -> int:
    source = arguments[0]
    repository, tag = split_tag(arguments[1]) if len(arguments) > 1 else ("", "")
    query = {
        "fromSrc": "-",
        "repo": repository or None,
        "tag": tag or None,
        "message": options.message or None,
        "platform": options.platform or None,
    }
    more = "".join(f"&changes={quote(change)}" for change in options.change)
    if source.startswith(("http://", "https://")):
        raise Failure("hawse does not fetch from the network: pipe it in (curl -L URL | hawse import - NAME)")
    with sys.stdin.buffer if source == "-" else open(source, "rb") as file:
        if file.isatty():
            raise Failure("the archive would be read from a terminal; name a file or pipe it in")
        path = "/images/create" + _query(query) + more
        with context.client.open("POST", path, content=_pieces(file)) as response:
            for line in response.lines():
                _tell(json.loads(line))
    return 0


def _query(query: dict[str, str | None]) -> str:
    from hawse.cli.wire.client import query_string

    return f"?{query_string(query)}"


def _tell(progress: dict[str, str]) -> None:
    if "error" in progress:
        raise Failure(progress["error"])
    if status := progress.get("status"):
        print(status)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _export(context: Context, options: Options, names: list[str]) -> int:
    path = f"/containers/{quote(names[0])}/export"
    if options.output:
        with (
            _output(options.output) as there,
            context.client.open("GET", path) as response,
            there.replaced() as file,  # a cut-off archive under the wanted name would look like a good one
        ):
            for piece in response:
                file.write(piece)
        return 0
    if sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    with context.client.open("GET", path) as response:
        for piece in response:
            sys.stdout.buffer.write(piece)
    return 0


def _output(path: str) -> Destination:
    """Raises Failure for what an archive must not take the place of."""
    from hawse.cli.files.destination import resolve

    try:
        there = resolve(path)
    except OSError as e:
        reason = f"stat {e.filename}: {(e.strerror or str(e)).lower()}"
        raise Failure(f"failed to export container: invalid output path: {reason}") from None
    if there.special or there.is_directory or path.endswith("/"):
        with there:
            raise Failure(f"failed to export container: cannot write to {there.special or 'a directory'}: {path}")
    return there


def _commit(context: Context, options: Options, arguments: list[str]) -> int:
    repository, tag = split_tag(arguments[1]) if len(arguments) > 1 else ("", "")
    query = {
        "container": arguments[0],
        "repo": repository or None,
        "tag": tag or None,
        "comment": options.message or None,
        "author": options.author or None,
        "pause": str(int(options.pause)),
    }
    more = "".join(f"&changes={quote(change)}" for change in options.change)
    print(context.client.call("POST", "/commit" + _query(query) + more, {}, {})["Id"])
    return 0


_CHANGE = Flag("change", "c", "list", "Set a part of its configuration, such as 'CMD [\"top\"]'")
_MESSAGE = Flag("message", "m", help="Comment kept with the image")

IMPORT = Command(
    _import,
    "FILE|- [REPOSITORY[:TAG]]",
    least=1,
    most=2,
    flags=(_CHANGE, _MESSAGE, Flag("platform", hidden=True)),
    completes="file",
)
EXPORT = Command(
    _export,
    "CONTAINER",
    least=1,
    most=1,
    flags=(Flag("output", "o", help="Write to this file instead of standard output", completes="file"),),
    completes="container",
    note="A file is written whole or not at all; a link is followed; directories, devices, FIFOs and sockets are refused.",
)
COMMIT = Command(
    _commit,
    "CONTAINER [REPOSITORY[:TAG]]",
    least=1,
    most=2,
    flags=(
        Flag("author", "a", help="Who made it"),
        _CHANGE,
        _MESSAGE,
        Flag("pause", "p", "bool", "Freeze the container meanwhile", default=True),
    ),
    completes="container",
)
