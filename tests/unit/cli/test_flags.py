"""Flags are read as Docker's client reads them, wording and exit codes included."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest

from hawse.cli import verbs
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag, Options
from hawse.cli.verbs.table import GROUPS, VERBS, Entry

FLAGS = (
    Flag("all", "a", "bool"),
    Flag("interactive", "i", "bool"),
    Flag("tty", "t", "bool"),
    Flag("proxy", kind="bool", default=True),
    Flag("name", "n"),
    Flag("publish", "p", "list"),
    Flag("memory", "m", "bytes"),
    Flag("last", "l", "int", default=-1),
    Flag("network", kind="list", aliases=("net",)),
)
ANYWHERE = Command(lambda *_: 0, "NAME", flags=FLAGS)
PROGRAM = Command(lambda *_: 0, "IMAGE [COMMAND]", flags=FLAGS, interspersed=False)


def parse(*argv: str, command: Command = ANYWHERE) -> tuple[Options, list[str]]:
    options, rest = command.parse("hawse x", list(argv))
    assert options is not None
    return options, rest


def refused(*argv: str, command: Command = ANYWHERE) -> Failure:
    with pytest.raises(Failure) as caught:
        command.parse("hawse x", list(argv))
    return caught.value


def test_defaults() -> None:
    options, rest = parse()
    assert (options.all, options.proxy, options.name, options.publish, options.last) == (False, True, "", [], -1)
    assert rest == [] and not options.given("proxy")


def test_short_flags_cluster_and_take_values_three_ways() -> None:
    options, rest = parse("-it", "-p8080:80", "-p", "53:53", "-p=1:1", "-an", "web", "x")
    assert (options.interactive, options.tty, options.all, options.name) == (True, True, True, "web")
    assert options.publish == ["8080:80", "53:53", "1:1"]
    assert rest == ["x"]


def test_booleans_take_a_value_only_with_an_equals_sign() -> None:
    options, rest = parse("--proxy=false", "-a=true", "--all", "false")
    assert (options.proxy, options.all) == (False, True)
    assert rest == ["false"]
    assert options.given("proxy")


def test_an_alias_is_the_same_flag() -> None:
    assert parse("--net", "a", "--network=b")[0].network == ["a", "b"]


def test_a_value_may_begin_with_a_dash() -> None:
    assert parse("--last", "-1", "--name", "--all")[0].name == "--all"


def test_flags_come_after_names_too() -> None:
    options, rest = parse("one", "-a", "two")
    assert options.all and rest == ["one", "two"]


def test_after_the_image_everything_is_the_programs() -> None:
    options, rest = parse("-i", "image", "-a", "--", "--name", "x", command=PROGRAM)
    assert options.interactive and not options.all
    assert rest == ["image", "-a", "--", "--name", "x"]


def test_two_dashes_end_the_flags() -> None:
    assert parse("-a", "--", "-b", "--c")[1] == ["-b", "--c"]


def test_a_lone_dash_is_an_argument() -> None:
    assert parse("-", "-a")[1] == ["-"]


def test_a_list_is_not_shared_between_two_runs() -> None:
    parse("-p", "1")
    assert parse()[0].publish == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=x"], "unknown flag: --foo"),
        (["-aZ"], "unknown shorthand flag: 'Z' in -aZ"),
        (["--name"], "flag needs an argument: --name"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (["-a=x"], 'invalid argument "x" for "-a, --all" flag: strconv.ParseBool: parsing "x": invalid syntax'),
        (["-l", "x"], 'invalid argument "x" for "-l, --last" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (["--proxy=maybe"], 'invalid argument "maybe" for "--proxy" flag'),
    ],
)
def test_wrong_flags(argv: list[str], said: str) -> None:
    failure = refused(*argv)
    assert failure.message.startswith(said)
    assert "Usage:  hawse x [OPTIONS] NAME" in failure.message
    assert "Run 'hawse x --help' for more information" in failure.message
    assert failure.code == 125


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_asked_for(word: str) -> None:
    assert ANYWHERE.parse("hawse x", [word])[0] is None
    assert PROGRAM.parse("hawse x", ["image", word])[1] == ["image", word], "the program's own"


@pytest.mark.parametrize(
    ("least", "most", "count", "said"),
    [
        (0, 0, 1, "accepts no arguments"),
        (1, 1, 0, "requires 1 argument"),
        (2, 2, 3, "requires 2 arguments"),
        (1, None, 0, "requires at least 1 argument"),
        (1, 2, 3, "requires at most 2 arguments"),
    ],
)
def test_the_number_of_arguments(least: int, most: int | None, count: int, said: str) -> None:
    from hawse.cli.context import Context

    command = Command(lambda *_: 0, "X", least, most)
    with pytest.raises(Failure) as caught:
        command.run(Context({}, {}), "hawse x", "", ["a"] * count)
    assert caught.value.message.startswith(f"'hawse x' {said}\n")
    assert caught.value.code == 1


def every_verb() -> list[tuple[str, Entry]]:
    plain = [(name, entry) for name, entry in VERBS.items()]
    return plain + [(f"{g} {name}", entry) for g, (_, members) in GROUPS.items() for name, entry in members.items()]


def test_every_command_is_a_verb() -> None:
    named = {entry[:2] for _, entry in every_verb()}
    without = [
        f"cli/{module.replace('.', '/')}.py: {name}"
        for module in (f"verbs.{found.name}" for found in iter_modules(verbs.__path__))
        for name, thing in vars(import_module(f"hawse.cli.{module}")).items()
        if isinstance(thing, Command) and (module, name) not in named
    ]
    assert not without, "cli/verbs/table.py does not name them"


@pytest.mark.parametrize(("name", "entry"), every_verb())
def test_every_verb_has_a_command_whose_help_names_every_flag(name: str, entry: Entry) -> None:
    module, attribute, summary = entry
    command = getattr(__import__(f"hawse.cli.{module}", fromlist=[attribute]), attribute)
    assert isinstance(command, Command)
    text = command.help(f"hawse {name}", summary)
    assert text.startswith(f"Usage:  hawse {name}")
    for flag in command.flags:
        assert flag.hidden or (f"--{flag.name}" in text and flag.help), flag.name
    shorts = [flag.short for flag in command.flags if flag.short]
    names = [word for flag in command.flags for word in (flag.name, *flag.aliases)]
    assert len(set(shorts)) == len(shorts) and len(set(names)) == len(names)
