"""`hawse pull`."""

from __future__ import annotations

import sys

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.wire import pulling


def _pull(context: Context, options: Options, names: list[str]) -> int:
    from hawse.cli.show import pullbars

    name = names[0]
    target = pulling.split(name)[1]
    if options.all_tags and target:
        raise Failure("tag can't be used with --all-tags/-a")
    if not target and not options.all_tags and not options.quiet:
        print(f"Using default tag: {pulling.DEFAULT_TAG}")
    with pullbars.shown(sys.stdout, quiet=options.quiet) as tell:
        pulling.pull(context.client, name, platform=options.platform, every_tag=options.all_tags, tell=tell)
    print(pulling.split(name)[0] if options.all_tags else pulling.full_name(name))
    return 0


PULL = Command(
    _pull,
    "NAME[:TAG|@DIGEST]",
    least=1,
    most=1,
    flags=(
        Flag("all-tags", "a", "bool", "Pull all tags of the repository"),
        Flag("platform", help="Pull the image for this platform, such as linux/arm64"),
        Flag("quiet", "q", "bool", "Print only the image's name"),
    ),
    note="What came of a pull that was interrupted is kept, and the next goes on where it ended.",
)
