"""Flags as Docker's users type them: `-it`, `-p8080:80`, `--name=x`, `--rm=false`, before or after the names.

argparse has other rules for all of these (a boolean takes no value, `--` vanishes from the program's own arguments), so
the parser is our own: small, quick to load, and the one source of parsing, of --help and of completion.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from hawse.cli.errors import Failure
from hawse.cli.flags.kinds import DEFAULTS, KINDS, REPEATED, WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hawse.cli.context import Context

USAGE_ERROR = 125
"""Docker's exit code for a wrong flag."""


class Flag:
    """One flag.  `kind` names the type of its value (KINDS); a `list` flag may be given many times."""

    __slots__ = ("aliases", "completes", "default", "help", "hidden", "kind", "name", "short")

    def __init__(
        self,
        name: str,
        short: str = "",
        kind: str = "string",
        help: str = "",
        *,
        default: Any = None,
        aliases: tuple[str, ...] = (),
        hidden: bool = False,
        completes: str = "",
    ) -> None:
        self.name, self.short, self.kind, self.help = name, short, kind, help
        self.default = default if default is not None else DEFAULTS.get(kind)
        self.aliases, self.hidden, self.completes = aliases, hidden, completes

    def spelled(self) -> str:
        """Return it as error messages name it: `-m, --memory`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Options:
    """The values: `options.no_trunc`; `given("no-trunc")` tells whether it was on the command line."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._given: set[str] = set()
        for flag in flags:
            value = flag.default
            setattr(self, flag.name.replace("-", "_"), list(value) if isinstance(value, list) else value)

    def given(self, name: str) -> bool:
        return name in self._given

    def put(self, flag: Flag, value: Any) -> None:
        attribute = flag.name.replace("-", "_")
        self._given.add(flag.name)
        if flag.kind in REPEATED:
            getattr(self, attribute).append(value)
        else:
            setattr(self, attribute, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Command:
    """One verb: its flags, how many arguments it takes, and what it does."""

    __slots__ = ("action", "aliases", "arguments", "completes", "flags", "interspersed", "least", "most", "note")

    def __init__(
        self,
        action: Callable[[Context, Options, list[str]], int],
        arguments: str = "",
        least: int = 0,
        most: int | None = None,
        flags: tuple[Flag, ...] = (),
        *,
        interspersed: bool = True,
        completes: str = "",
        note: str = "",
    ) -> None:
        """`most` None: no limit.  Not `interspersed`: flags end at the first argument, the rest is a program's."""
        self.action, self.arguments, self.least, self.most = action, arguments, least, most
        self.flags, self.interspersed, self.completes, self.note = flags, interspersed, completes, note

    def run(self, context: Context, path: str, summary: str, argv: list[str]) -> int:
        """Parse `argv` and act.  `path` is how the verb was typed: `hawse network ls`."""
        options, rest = self.parse(path, argv)
        if options is None:
            print(self.help(path, summary))
            return 0
        self._count(path, len(rest))
        context.path = path
        return self.action(context, options, rest)

    def parse(self, path: str, argv: list[str]) -> tuple[Options | None, list[str]]:
        """Options None when help was asked for.  Raises Failure."""
        options = Options(self.flags)
        long = {name: flag for flag in self.flags for name in (flag.name, *flag.aliases)}
        short = {flag.short: flag for flag in self.flags if flag.short}
        rest: list[str] = []
        words = iter(argv)
        for word in words:
            if word == "--":
                rest.extend(words)
            elif word == "--help" or (word == "-h" and "h" not in short):
                return None, []
            elif word.startswith("--"):
                self._long(path, word, words, long, options)
            elif word.startswith("-") and word != "-":
                self._short(path, word, words, short, options)
            else:
                rest.append(word)
                if not self.interspersed:
                    rest.extend(words)
        return options, rest

    def _long(self, path: str, word: str, words: Iterator[str], known: Mapping[str, Flag], options: Options) -> None:
        name, equals, value = word[2:].partition("=")
        flag = known.get(name)
        if flag is None:
            raise self.misused(path, f"unknown flag: --{name}")
        if equals:
            self._put(path, flag, value, options)
        elif flag.kind == "bool":
            options.put(flag, True)
        else:
            following = next(words, None)
            if following is None:
                raise self.misused(path, f"flag needs an argument: --{name}")
            self._put(path, flag, following, options)

    def _short(self, path: str, word: str, words: Iterator[str], known: Mapping[str, Flag], options: Options) -> None:
        letters = word[1:]
        for index, letter in enumerate(letters):
            flag = known.get(letter)
            if flag is None:
                raise self.misused(path, f"unknown shorthand flag: '{letter}' in {word}")
            value = letters[index + 1 :]
            if value.startswith("="):
                self._put(path, flag, value[1:], options)
                return
            if flag.kind == "bool":
                options.put(flag, True)
                continue
            if not value:
                following = next(words, None)
                if following is None:
                    raise self.misused(path, f"flag needs an argument: '{letter}' in {word}")
                value = following
            self._put(path, flag, value, options)
            return

    def _put(self, path: str, flag: Flag, text: str, options: Options) -> None:
        try:
            options.put(flag, KINDS[flag.kind](text))
        except ValueError as e:
            raise self.misused(path, f'invalid argument "{text}" for "{flag.spelled()}" flag: {e}') from None

    def _count(self, path: str, count: int) -> None:
        least, most = self.least, self.most
        if most == 0 and count:
            wanted = "accepts no arguments"
        elif least == most and count != least:
            wanted = f"requires {least} argument{'s' * (least != 1)}"
        elif count < least:
            wanted = f"requires at least {least} argument{'s' * (least != 1)}"
        elif most is not None and count > most:
            wanted = f"requires at most {most} argument{'s' * (most != 1)}"
        else:
            return
        raise self.miscounted(path, wanted)

    def miscounted(self, path: str, wanted: str) -> Failure:
        """`wanted` is `requires at least 1 argument` and the like."""
        return Failure(f"'{path}' {wanted}\n\n{self._pointer(path)}", 1 if self.interspersed else USAGE_ERROR)

    def misused(self, path: str, what: str) -> Failure:
        return Failure(f"{what}\n\n{self._pointer(path)}", USAGE_ERROR)

    def usage(self, path: str) -> str:
        return " ".join(filter(None, (path, "[OPTIONS]" if self.flags else "", self.arguments)))

    def _pointer(self, path: str) -> str:
        return f"Usage:  {self.usage(path)}\n\nRun '{path} --help' for more information"

    def help(self, path: str, summary: str) -> str:
        lines = [f"Usage:  {self.usage(path)}", "", summary]
        if self.note:
            lines += ["", self.note]
        shown = [flag for flag in self.flags if not flag.hidden]
        if shown:
            lines += ["", "Options:", *_columns([flag_row(flag) for flag in shown])]
        return "\n".join(lines)


FORMAT = Flag("format", help="table, json, or a template such as '{{.ID}}' or 'table {{.ID}}\\t{{.Names}}'")
"""Of verbs that list things: show/table.py."""


def flag_row(flag: Flag) -> tuple[str, str]:
    left = f"  {f'-{flag.short}, ' if flag.short else '    '}--{flag.name}"
    if flag.kind != "bool":
        left += f" {WORDS.get(flag.kind, flag.kind)}"
    default = ""
    if flag.default not in (None, [], "", False, 0, -1):
        default = f' (default "{flag.default}")' if isinstance(flag.default, str) else f" (default {_go(flag.default)})"
    return left, flag.help + default


def _go(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    """Left and right, the right one wrapped to the terminal (80 where there is none)."""
    width = max(len(left) for left, _ in rows) + 3
    try:
        columns = os.get_terminal_size().columns
    except OSError:
        columns = 80
    room = max(24, columns - width)
    lines = []
    for left, right in rows:
        line = ""
        for word in right.split():
            if line and len(line) + 1 + len(word) > room:
                lines.append(left.ljust(width) + line)
                left, line = "", ""
            line = f"{line} {word}" if line else word
        lines.append((left.ljust(width) + line).rstrip())
    return lines
