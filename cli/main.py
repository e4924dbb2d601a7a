"""The `hawse` command: global flags, then a verb whose module alone is imported."""

from __future__ import annotations

import os
import sys

from hawse.cli.errors import Failure, Interrupted
from hawse.cli.verbs.table import GROUPS, VERBS

_VALUED = {"--host": "host", "-H": "host", "--root": "root", "--run-dir": "run-dir"} | {
    "--instance": "instance",
    "--config": "config",
}


def main() -> int:
    """The console script.  Ends the process itself: tearing the interpreter down would cost more than a short verb."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started with it closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as we live
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a name must not break a table
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    os._exit(code)


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        return _dispatch(argv)
    except Failure as e:
        if e.message:
            sys.stdout.flush()
            print(f"hawse: {e.message.removeprefix('hawse: ')}", file=sys.stderr)
        return e.code
    except BrokenPipeError:
        # Whoever read our output has gone: not an error of ours, and nobody would read about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as e:
        print(f"hawse: {e.filename + ': ' if e.filename else ''}{e.strerror or e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _die_by(2)
    except Interrupted as e:
        return _die_by(e.signal)


def _die_by(number: int) -> int:
    """End as the signal would have ended us, so that a calling shell sees it."""
    import signal

    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def _dispatch(argv: list[str]) -> int:
    flags, autostart, rest = _global_flags(argv)
    if not rest or rest[0] in ("--help", "-h"):
        print(_help())
        return 0
    if rest[0] in ("--version", "-v"):
        from hawse.supervisor.api.wire import VERSION

        print(f"hawse version {VERSION}")
        return 0
    verb, *arguments = rest
    if verb == "__complete":
        from hawse.cli import complete

        return complete.main(arguments)
    if verb == "help":
        verb, arguments = (arguments[0], [*arguments[1:], "--help"]) if arguments else ("", [])
        if not verb:
            print(_help())
            return 0
    if verb in GROUPS:
        return _group(verb, arguments, flags, autostart)
    if verb.startswith("-"):
        raise Failure(
            f"unknown flag: {verb}\n\nUsage:  hawse [OPTIONS] COMMAND\n\nRun 'hawse --help' for more information", 125
        )
    if verb not in VERBS:
        raise _unknown("hawse", verb, [*VERBS, *GROUPS])
    return _run(f"hawse {verb}", VERBS[verb], arguments, flags, autostart)


def _group(group: str, arguments: list[str], flags: dict[str, str], autostart: bool) -> int:
    summary, members = GROUPS[group]
    if not arguments or arguments[0] in ("--help", "-h"):
        print(f"Usage:  hawse {group} COMMAND\n\n{summary}\n\nCommands:")
        print(_listing(members))
        print(f"\nRun 'hawse {group} COMMAND --help' for more information on a command.")
        return 0
    verb = arguments[0]
    if verb not in members:
        raise _unknown(f"hawse {group}", verb, list(members))
    return _run(f"hawse {group} {verb}", members[verb], arguments[1:], flags, autostart)


def _run(path: str, entry: tuple[str, str, str], arguments: list[str], flags: dict[str, str], autostart: bool) -> int:
    from hawse.cli.context import Context

    module, name, summary = entry
    command = getattr(__import__(f"hawse.cli.{module}", fromlist=[name]), name)
    if name == "DAEMON":  # its own flags and the global ones may be mixed
        more, _, arguments = _global_flags(arguments, everywhere=True)
        flags |= more
    context = Context(flags, os.environ, autostart)
    code: int = command.run(context, path, summary, arguments)
    return code


def _global_flags(argv: list[str], everywhere: bool = False) -> tuple[dict[str, str], bool, list[str]]:
    """Split off what chooses the daemon, before the verb (or wherever it stands, for `hawse daemon`)."""
    flags: dict[str, str] = {}
    autostart = True
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--no-autostart":
            autostart = False
        elif name in _VALUED:
            following = value if equals else next(words, None)
            if following is None:
                raise Failure(f"flag needs an argument: {name}", 125)
            flags[_VALUED[name]] = following
        else:
            rest.append(word)
            if not everywhere:
                rest.extend(words)
    return flags, autostart, rest


def _unknown(path: str, verb: str, known: list[str]) -> Failure:
    import difflib

    group = path.removeprefix("hawse").strip()
    near = difflib.get_close_matches(verb, known, n=3)
    guess = f"\nDid you mean {' or '.join(near)}?" if near else ""
    what = f"hawse: '{f'{group} {verb}'.strip()}' is not a hawse command."
    return Failure(f"{what}{guess}\nSee '{path} --help'", 1)


def _listing(entries: dict[str, tuple[str, str, str]]) -> str:
    width = max(map(len, entries)) + 2
    return "\n".join(f"  {verb:<{width}}{summary}" for verb, (_, _, summary) in sorted(entries.items()))


def _help() -> str:
    width = max(map(len, [*GROUPS, *VERBS])) + 2
    groups = "\n".join(f"  {name:<{width}}{summary}" for name, (summary, _) in sorted(GROUPS.items()))
    verbs = "\n".join(f"  {name:<{width}}{summary}" for name, (_, _, summary) in sorted(VERBS.items()))
    return f"""Usage:  hawse [OPTIONS] COMMAND

Containers whose network is plugged in, watched, mended and always pulled out again

Management Commands:
{groups}

Commands:
{verbs}

Global Options:
      --config FILE     Configuration file (default "/etc/hawse/hawse.toml")
  -H, --host SOCKET     The daemon's socket (default "unix:///run/hawse/hawse.sock")
      --instance NAME   Which of several daemons: 1 to 4 of a-z and 0-9
      --no-autostart    Do not start a daemon when none answers
      --root DIR        The daemon's state directory (default "/var/lib/hawse")
      --run-dir DIR     The daemon's directory for sockets (default "/run/hawse")
  -v, --version         Print the version and quit

HAWSE_HOST, HAWSE_ROOT, HAWSE_RUN_DIR, HAWSE_INSTANCE, HAWSE_CONFIG and HAWSE_AUTOSTART=0 set the same.

Run 'hawse COMMAND --help' for more information on a command."""
