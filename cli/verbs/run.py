"""`hawse run` and `hawse create`."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import ApiError, Disconnected, Failure, NoDaemon
from hawse.cli.flags import container_body
from hawse.cli.flags.container_flags import CONTAINER, FOREGROUND
from hawse.cli.flags.flags import USAGE_ERROR, Command, Options
from hawse.cli.wire import pulling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_FOUND = ("executable file not found", "no such file or directory", "not a directory")
_PULL = ("always", "missing", "never")
NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")


def _run(context: Context, options: Options, arguments: list[str]) -> int:
    image, program = _image(context, RUN, options, arguments)
    try:
        body = container_body.body(options, image, program)
    except Failure as e:
        raise _explained(context, e.message, e.code) from None
    if not options.detach:
        from hawse.cli.wire.terminal import require

        require("stdin" in container_body.attached_streams(options) and options.interactive, options.tty)
    elif options.attach:
        raise _explained(context, "conflicting options: cannot specify both --attach and --detach")
    try:
        return _start(context, options, body)
    except (ApiError, NoDaemon, Disconnected) as e:
        raise _explained(context, e.message, program_error(e)) from None


def _start(context: Context, options: Options, body: dict[str, Any]) -> int:
    """Create, start and, in the foreground, stay."""
    container, client = _create(context, options, body), context.client
    path = f"/containers/{container}"
    if options.detach:
        client.post(f"{path}/start")
        print(container)
        return 0
    from hawse.cli.wire.foreground import Foreground

    streams = container_body.attached_streams(options)
    session = Foreground(
        context.client,
        container,
        tty=options.tty,
        streams=streams if options.interactive else streams - {"stdin"},
        detach_keys=options.detach_keys,
        sig_proxy=options.sig_proxy,
    )
    code = session.run("removed" if options.rm else "next-exit", lambda: client.post(f"{path}/start"))
    return code or 0


def _create_only(context: Context, options: Options, arguments: list[str]) -> int:
    image, program = _image(context, CREATE, options, arguments)
    try:
        body = container_body.body(options, image, program)
    except Failure as e:
        raise _explained(context, e.message, e.code) from None
    print(_create(context, options, body))
    return 0


def _image(context: Context, command: Command, options: Options, arguments: list[str]) -> tuple[str, list[str]]:
    """(image, program); with --rootfs there is no image and everything is the program."""
    if options.rootfs:
        return "", arguments
    if not arguments:
        raise command.miscounted(context.path, "requires at least 1 argument")
    return arguments[0], arguments[1:]


def _create(context: Context, options: Options, body: dict[str, Any]) -> str:
    """The new container's id, written to --cidfile as well.  Warnings go to stderr."""
    if options.tty:
        from hawse.cli.wire.terminal import size

        if console := size() or size(0):
            body["HostConfig"]["ConsoleSize"] = list(console)
    if not options.cidfile:
        return _created(context, options, body)
    from hawse.cli.files.cidfile import cidfile

    with cidfile(options.cidfile) as file:
        identifier = _created(context, options, body)
        file.write(identifier.encode())
    return identifier


def _created(context: Context, options: Options, body: dict[str, Any]) -> str:
    answer = _answered(context, options, body)
    for warning in answer.get("Warnings") or ():
        print(f"WARNING: {warning}", file=sys.stderr)
    return str(answer["Id"])


def _answered(context: Context, options: Options, body: dict[str, Any]) -> Any:
    """Create it, with its image pulled first where that was asked for or it is missing."""
    image, query = body.get("Image", ""), {"name": options.name or None, "platform": options.platform or None}
    if options.pull not in _PULL:
        raise Failure(f"invalid pull option: '{options.pull}': must be one of {', '.join(_PULL)}")
    if image and options.pull == "always":
        _pull(context, options, image)
    try:
        return context.client.post("/containers/create", body, **query)
    except ApiError as e:
        if not (image and options.pull == "missing" and e.status == 404 and "No such image" in e.reason):
            raise
        if not options.quiet:
            _, near, names = e.reason.partition(" (did you mean ")  # the pull may fail, or take long
            print(f"Unable to find image '{pulling.familiar(image)}' locally{near}{names}", file=sys.stderr)
    _pull(context, options, image)
    return context.client.post("/containers/create", body, **query)


def _pull(context: Context, options: Options, image: str) -> None:
    from hawse.cli.show import pullbars

    with pullbars.shown(sys.stderr, quiet=options.quiet) as tell:
        pulling.pull(context.client, image, platform=options.platform, every_tag=False, tell=tell)


def program_error(error: Failure) -> int:
    """Docker's exit code of a start or exec that failed: 127 not found, 126 not executable, 125 everything else."""
    if isinstance(error, ApiError) and error.status == 400 and "exec" in error.reason:
        if any(words in error.reason for words in NOT_FOUND):
            return 127
        if any(words in error.reason for words in NOT_EXECUTABLE):
            return 126
    return USAGE_ERROR


def _explained(context: Context, message: str, code: int = USAGE_ERROR) -> Failure:
    return Failure(f"{message}\n\nRun '{context.path} --help' for more information", code if code > 1 else USAGE_ERROR)


RUN = Command(
    _run,
    "IMAGE|--rootfs DIR [COMMAND] [ARG...]",
    flags=tuple(sorted((*CONTAINER, *FOREGROUND), key=lambda flag: flag.name)),
    interspersed=False,
    completes="image",
)
CREATE = Command(
    _create_only,
    "IMAGE|--rootfs DIR [COMMAND] [ARG...]",
    flags=CONTAINER,
    interspersed=False,
    completes="image",
)
