"""`hawse push`."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire import pulling
from hawse.cli.wire.client import quote


def _push(context: Context, options: Options, names: list[str]) -> int:
    from hawse.cli.show import pullbars

    name = names[0]
    repository, target = pulling.split(name)
    if options.all_tags and target:
        raise Failure("tag can't be used with --all-tags/-a")
    if not target and not options.all_tags:
        target = pulling.DEFAULT_TAG
        if not options.quiet:
            print(f"Using default tag: {target}")
    with pullbars.shown(sys.stdout, quiet=options.quiet) as tell:
        path = f"/images/{quote(repository, b'/:')}/push"
        pulling.steps(context.client, path, {"tag": target or None}, repository, tell)
    if options.quiet:
        print(pulling.full_name(f"{repository}:{target}" if target else repository))
    return 0


PUSH = Command(
    _push,
    "NAME[:TAG]",
    least=1,
    most=1,
    flags=(
        Flag("all-tags", "a", "bool", "Push all tags of the repository"),
        Flag("quiet", "q", "bool", "Print only the image's name"),
    ),
    completes="image",
    note="What was pulled is pushed byte for byte: its digest stays what it was.",
)
