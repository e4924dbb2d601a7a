"""`--change` of import and commit: a few of a Dockerfile's instructions, applied to an image's config.  Pure.

docs.docker.com/reference/cli/docker/image/import: CMD ENTRYPOINT ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR;
HEALTHCHECK as well.  There is no variable expansion: nothing is being built.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Healthcheck, ImageConfig

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
SHELL = ("/bin/sh", "-c")


def apply(config: ImageConfig, changes: Iterable[str]) -> ImageConfig:
    """Raises UserError that quotes the instruction."""
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        instruction = _INSTRUCTIONS.get(word.upper())
        if instruction is None:
            raise UserError(
                f"{word.upper() or repr(change)} is not a valid change command",
                hint=f"known: {', '.join(sorted(_INSTRUCTIONS))}",
            )
        if not rest.strip():
            raise UserError(f"{word.upper()} requires at least one argument")
        try:
            config = instruction(config, rest.strip())
        except ValueError as e:
            raise UserError(f"invalid change {change!r}: {e}") from e
    return config


def _command(text: str) -> tuple[str, ...]:
    """The exec form is a JSON list; anything else is for the shell."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return (*SHELL, text)
    if not isinstance(parsed, list) or not all(isinstance(word, str) for word in parsed):
        return (*SHELL, text)
    return tuple(parsed)


def _cmd(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, cmd=_command(text))


def _entrypoint(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, entrypoint=_command(text))


def _env(config: ImageConfig, text: str) -> ImageConfig:
    merged = dict(item.partition("=")[::2] for item in config.env)
    merged.update(_pairs(text))
    return replace(config, env=tuple(f"{k}={v}" for k, v in merged.items()))


def _label(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, labels={**config.labels, **_pairs(text)})


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports = dict.fromkeys(config.exposed)
    for word in text.split():
        match = _PORT.match(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or not 0 < first <= last <= 65535:
            raise ValueError(f"{word} is no port: PORT[-PORT][/tcp|udp]")
        ports.update(dict.fromkeys(f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)))
    return replace(config, exposed=tuple(ports))


def _volume(config: ImageConfig, text: str) -> ImageConfig:
    paths = _command(text) if text.startswith("[") else tuple(shlex.split(text))
    if not all(paths):
        raise ValueError("VOLUME specified can not be an empty string")
    return replace(config, volumes=tuple(dict.fromkeys((*config.volumes, *paths))))


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    return replace(config, workdir=posixpath.normpath(posixpath.join("/", config.workdir, text)))


def _user(config: ImageConfig, text: str) -> ImageConfig:
    if len(text.split()) != 1:
        raise ValueError("USER requires exactly one argument")
    return replace(config, user=text)


def _stop_signal(config: ImageConfig, text: str) -> ImageConfig:
    if not re.fullmatch(r"(SIG)?[A-Z][A-Z0-9+]*|\d{1,2}", text, re.IGNORECASE):
        raise ValueError(f"invalid signal: {text}")
    return replace(config, stop_signal=text)


def _healthcheck(config: ImageConfig, text: str) -> ImageConfig:
    """`NONE`, or `[--interval=30s ...] CMD command`."""
    options = {"interval": 0, "timeout": 0, "start-period": 0, "start-interval": 0, "retries": 0}
    words = text
    while words.startswith("--"):
        option, _, words = words.partition(" ")
        name, equals, value = option[2:].partition("=")
        if name not in options or not equals:
            raise ValueError(f"unknown flag: --{name}")
        options[name] = int(value) if name == "retries" else _duration(value)
        words = words.lstrip()
    kind, _, command = words.partition(" ")
    if kind.upper() == "NONE":
        return replace(config, healthcheck=Healthcheck(test=("NONE",)))
    if kind.upper() != "CMD" or not command.strip():
        raise ValueError("Unknown type: HEALTHCHECK takes CMD and a command, or NONE")
    parsed = _command(command.strip())
    test = (
        ("CMD-SHELL", parsed[-1]) if parsed[:2] == SHELL and not command.lstrip().startswith("[") else ("CMD", *parsed)
    )
    times = {name.replace("-", "_"): value for name, value in options.items()}
    return replace(config, healthcheck=Healthcheck(test=test, **times))


def _duration(text: str) -> int:
    """Go's notation ("1m30s"), in nanoseconds."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"invalid duration {text!r}")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _pairs(text: str) -> dict[str, str]:
    """`K=V K2="v 2"`, or the old form `K all the rest`."""
    words = shlex.split(text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise ValueError(f"{key} has no value")
        return {key: value.strip()}
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"Syntax error - can't find = in {word!r}")
        pairs[key] = value
    return pairs


_INSTRUCTIONS: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
