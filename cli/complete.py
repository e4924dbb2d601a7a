"""`hawse __complete WORD...`: what the last word can become, a candidate a line, for the shells' completion scripts.

Flags come from the same tables that parse them; names of containers, images, networks and volumes come from the daemon,
which is asked only if it runs.
"""

from __future__ import annotations

import os

from hawse.cli.context import Context
from hawse.cli.errors import Failure
from hawse.cli.flags.flags import Command, Flag
from hawse.cli.verbs.table import GROUPS, VERBS
from hawse.cli.wire.client import Client

FILES = ":files"
"""Told instead of candidates: the shell completes paths itself."""
_GLOBAL = ("--config", "--host", "--instance", "--no-autostart", "--root", "--run-dir", "--help", "--version")
_GLOBAL_VALUED = {"--config", "--host", "-H", "--instance", "--root", "--run-dir"}
_FLAG_VALUES = {
    "network": "network",
    "volumes-from": "container",
    "env-file": "file",
    "label-file": "file",
    "cidfile": "file",
    "rootfs": "file",
    "volume": "file",
    "output": "file",
}
_WORDS = {
    "restart": ("no", "on-failure", "always", "unless-stopped"),
    "pull": ("missing", "never"),
    "userns": ("host",),
    "signal": ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP"),
    "stop-signal": ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM"),
    "type": ("container", "image", "network", "volume"),
    "format": ("json", "table"),
    "driver": ("bridge",),
}


def main(argv: list[str]) -> int:
    """Never an error: a completion that fails offers nothing."""
    *before, word = argv or [""]
    try:
        candidates = _candidates(before, word)
    except (Failure, OSError, KeyError, TypeError):
        return 0
    for candidate in sorted(set(candidates)):
        if candidate.startswith(word) or candidate == FILES:
            print(candidate)
    return 0


def _candidates(before: list[str], word: str) -> list[str]:
    flags, words = _without_globals(before)
    if words is None:
        return []
    if not words:
        return list(_GLOBAL) if word.startswith("-") else [*VERBS, *GROUPS]
    entry = VERBS.get(words[0])
    arguments = words[1:]
    if words[0] in GROUPS:
        members = GROUPS[words[0]][1]
        if len(words) == 1:
            return ["--help"] if word.startswith("-") else list(members)
        entry, arguments = members.get(words[1]), words[2:]
    if entry is None:
        return []
    module, name, _ = entry
    command: Command = getattr(__import__(f"hawse.cli.{module}", fromlist=[name]), name)
    pending, position = _walk(command, arguments)
    client = Context(flags, os.environ, autostart=False).client
    if pending is not None:
        return _values(client, pending)
    if word.startswith("-") and (command.interspersed or position == 0):
        return ["--help", *(f"--{flag.name}" for flag in command.flags if not flag.hidden)]
    if command.most is not None and position >= command.most:
        return []
    return _arguments(client, command, position)


def _without_globals(before: list[str]) -> tuple[dict[str, str], list[str] | None]:
    """(the flags that choose a daemon, the rest); None while a global flag's value is typed."""
    flags: dict[str, str] = {}
    words = iter(before)
    for word in words:
        name, equals, value = word.partition("=")
        if name in _GLOBAL_VALUED:
            following = value if equals else next(words, None)
            if following is None:
                return flags, None
            flags["host" if name == "-H" else name.removeprefix("--")] = following
        elif word != "--no-autostart":
            return flags, [word, *words]
    return flags, []


def _walk(command: Command, arguments: list[str]) -> tuple[Flag | None, int]:
    """(the flag whose value is being typed, how many plain arguments came before)."""
    by_name = {f"--{name}": flag for flag in command.flags for name in (flag.name, *flag.aliases)}
    by_letter = {flag.short: flag for flag in command.flags if flag.short}
    position = 0
    pending: Flag | None = None
    for argument in arguments:
        if pending is not None:
            pending = None
        elif argument.startswith("-") and argument != "-" and (command.interspersed or not position):
            flag = by_name.get(argument)
            if flag is None and not argument.startswith("--") and "=" not in argument:
                flag = by_letter.get(argument[-1])
            if flag is not None and flag.kind != "bool":
                pending = flag
        else:
            position += 1
    return pending, position


def _values(client: Client, flag: Flag) -> list[str]:
    if flag.name in _WORDS:
        return list(_WORDS[flag.name])
    return _names(client, flag.completes or _FLAG_VALUES.get(flag.name, ""))


def _arguments(client: Client, command: Command, position: int) -> list[str]:
    kinds = command.completes.split()
    if not kinds:
        return []
    if not command.interspersed and position > 0:
        return [FILES]  # the program's own arguments
    return _names(client, kinds[min(position, len(kinds) - 1)])


def _names(client: Client, kind: str) -> list[str]:
    match kind:
        case "file":
            return [FILES]
        case "container" | "running":
            return _containers(client, everything=kind == "container")
        case "container-path":
            return [FILES, *(f"{name}:" for name in _containers(client, everything=True))]
        case "image":
            found = client.get("/images/json")
            tags = [tag for image in found for tag in image.get("RepoTags") or ()]
            return tags + [tag.removesuffix(":latest") for tag in tags]
        case "network":
            return [network["Name"] for network in client.get("/networks")]
        case "volume":
            return [volume["Name"] for volume in client.get("/volumes")["Volumes"] or ()]
        case "object":
            return [name for each in ("container", "image", "network") for name in _names(client, each)]
    return []


def _containers(client: Client, *, everything: bool) -> list[str]:
    found = client.get("/containers/json", all=everything or None)
    return [name.removeprefix("/") for one in found for name in one["Names"]]
