"""What a hook is: which events it wants, for whom, what it runs and how.  Pure; scan.py makes it from files.

A *gate* (`pre-*`) is asked inside a transition and may refuse it.  Everything else (`on-*`) is *durable*: it is driven from
the journal, at least once, and never blocks what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.eventnames import event_types
from hawse.supervisor.core.events import ContainerFact, Fact, NetworkFact, Question
from hawse.supervisor.core.model import Endpoint

GATE_TIMEOUT, TIMEOUT = 10.0, 30.0
ATTEMPTS, CONCURRENCY, BATCH = 5, 8, 64
_KEYS = frozenset(
    (
        "on",
        "command",
        "url",
        "secret_file",
        "ca_file",
        "batch",
        "match",
        "mode",
        "timeout",
        "retries",
        "concurrency",
        "user",
    )
)
VARIABLE_LIMIT, VARIABLES_LIMIT = 32 * 1024, 256 * 1024  # bytes of one variable, and of all
_NOT_A_NAME = re.compile(r"[^A-Z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Empty matches everything; all that is given must match."""

    labels: tuple[tuple[str, str | None], ...] = ()
    network: str = ""  # glob
    container: str = ""  # glob over the name

    def wants(self, fact: Fact | Question) -> bool:
        if not (self.labels or self.network or self.container):
            return True
        if isinstance(fact, NetworkFact):
            labels, name = fact.network.labels, str(fact.network.name)
            return not self.container and self._has(labels) and (not self.network or fnmatchcase(name, self.network))
        if not isinstance(fact, ContainerFact):
            return False
        container = fact.container
        networks = {str(e.network) for e in endpoints_of(fact)} or {str(r.network) for r in container.config.endpoints}
        return (
            self._has(container.config.labels)
            and (not self.container or fnmatchcase(container.name, self.container))
            and (not self.network or any(fnmatchcase(name, self.network) for name in networks))
        )

    def _has(self, labels: Mapping[str, str]) -> bool:
        return all(key in labels and (value is None or labels[key] == value) for key, value in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One usable file of a hooks directory."""

    name: str  # below the hooks directory: "on-container.exited.d/10-tell", "20-alert.toml"
    path: Path
    types: tuple[str, ...]  # globs over fact types, or the gate's own
    gate: bool
    command: tuple[str, ...] = ()  # () = the file itself
    url: str = ""
    secret_file: str = ""
    ca_file: str = ""  # of an https url: trusted instead of the system's
    batch: bool = False
    match: Match = Match()
    ignore: bool = False  # a gate's failure refuses nothing
    timeout: float = TIMEOUT
    attempts: int = ATTEMPTS
    concurrency: int = CONCURRENCY
    user: str = ""

    @property
    def handler(self) -> str:
        return f"hook:{self.name}"

    @property
    def kind(self) -> str:
        return "webhook" if self.url else "command" if self.command else "script"


def script(name: str, path: Path, event: str) -> Hook:
    types, gate = event_types(event)
    return Hook(name=name, path=path, types=types, gate=gate, timeout=GATE_TIMEOUT if gate else TIMEOUT)


def declared(name: str, path: Path, table: Mapping[str, Any]) -> Hook:
    """A hook's TOML.  Raises UserError that names the key, the value and what it must be."""
    if unknown := sorted(table.keys() - _KEYS):
        raise UserError(f"unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
    on = table.get("on", [])
    events = [on] if isinstance(on, str) else on
    if not _strings(events) or not events:
        raise UserError('on must name events, such as ["container.exited"] or "pre-start"')
    types: tuple[str, ...] = ()
    gates = set()
    for event in events:
        more, gate = event_types(event)
        types += more
        gates.add(gate)
    if len(gates) > 1:
        raise UserError("a hook is either for pre-* or for other events: make two")
    gate = gates.pop()
    command, url = table.get("command", []), table.get("url", "")
    command = [command] if isinstance(command, str) else command
    if not _strings(command) or not isinstance(url, str) or bool(command) == bool(url):
        raise UserError("either command (a path, or a list of words) or url must be given")
    if command and not command[0].startswith("/"):
        raise UserError(f"command = {command[0]!r} must be an absolute path")
    if url and (gate or not re.match(r"https?://[^/\s]|unix:///\S", url)):
        raise UserError(
            "a gate cannot be a url" if gate else f"url = {url!r} must begin with http://, https:// or unix:///"
        )
    mode = table.get("mode", "fail")
    if mode not in ("fail", "ignore") or ("mode" in table and not gate):
        raise UserError(f"mode = {mode!r} must be fail or ignore, and is for pre-* only")
    texts = {key: table.get(key, "") for key in ("secret_file", "ca_file", "user")}
    if bad := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise UserError(f"{bad[0]} must be a string")
    if bad := [key for key in ("secret_file", "ca_file") if texts[key] and not (url and texts[key].startswith("/"))]:
        raise UserError(f"{bad[0]} = {texts[bad[0]]!r} must be an absolute path, and is for a url only")
    batch = table.get("batch", False)
    if not isinstance(batch, bool) or (batch and not url):
        raise UserError(f"batch = {batch!r} must be true or false, and is for a url only")
    return Hook(
        name=name,
        path=path,
        types=types,
        gate=gate,
        command=tuple(command),
        url=url,
        secret_file=texts["secret_file"],
        ca_file=texts["ca_file"],
        batch=batch,
        match=_match(table.get("match", {})),
        ignore=mode == "ignore",
        timeout=_number(table, "timeout", GATE_TIMEOUT if gate else TIMEOUT, 0.05, 86_400),
        attempts=1 + int(_number(table, "retries", ATTEMPTS - 1, 0, 1000)),
        concurrency=int(_number(table, "concurrency", BATCH if batch else CONCURRENCY, 1, 1000)),
        user=texts["user"],
    )


def _match(given: Any) -> Match:
    if not isinstance(given, dict) or given.keys() - {"label", "network", "container"}:
        raise UserError("match may have label, network and container")
    labels = given.get("label", {})
    if isinstance(labels, list) and _strings(labels):
        pairs = tuple((key, value if equals else None) for key, equals, value in (x.partition("=") for x in labels))
    elif isinstance(labels, dict) and _strings(list(labels.values())):
        pairs = tuple(labels.items())
    else:
        raise UserError('match.label must be a table {key = "value"} or a list ["key", "key=value"]')
    names = [given.get(key, "") for key in ("network", "container")]
    if not _strings(names):
        raise UserError("match.network and match.container must be strings")
    return Match(labels=pairs, network=names[0], container=names[1])


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _number(table: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UserError(f"{key} = {value!r} must be a number from {least:g} to {most:g}")
    return float(value)


def endpoints_of(fact: ContainerFact) -> tuple[Endpoint, ...]:
    """The cables that the fact is about."""
    own = getattr(fact, "endpoint", None)
    return (own,) if isinstance(own, Endpoint) else fact.endpoints


def variables(fact: Fact | Question) -> dict[str, str]:
    """HAWSE_* for a hook, of what the fact knows.  Values are data: none is ever a path or an option of ours.

    What is too long is left out: with one string of 128 KiB, or a quarter of the stack in all, nothing can be executed
    (execve(2)), and so a label would keep every hook from being told.  The document has it all.
    """
    found: dict[str, str] = {}
    if isinstance(fact, NetworkFact):
        found["NETWORK"] = fact.network.name
    if isinstance(fact, ContainerFact):
        container, cables = fact.container, endpoints_of(fact)
        found |= {
            "ID": container.id,
            "NAME": container.name,
            "IMAGE": container.config.image,
            "PID": str(container.process.pid) if container.process else "",
            "IP": str(cables[0].address) if cables else "",
            "NETWORK": str(cables[0].network) if cables else "",
            "PORTS": ",".join(
                f"{p.host_ip or '0.0.0.0'}:{p.host_port}:{p.container_port}/{p.proto}" for e in cables for p in e.ports
            ),
        }
        ended = getattr(fact, "exit", None)
        if ended is not None and ended.code is not None:
            found["EXIT_CODE"] = str(ended.code)
        for key, value in container.config.labels.items():
            found.setdefault(f"LABEL_{_NOT_A_NAME.sub('_', key.upper())}", value)
    kept, room = {}, VARIABLES_LIMIT
    for key, value in found.items():
        size = len((key + value).encode(errors="surrogateescape"))
        if "\0" not in value and size <= min(room, VARIABLE_LIMIT):
            kept[f"HAWSE_{key}"] = value
            room -= size
    return kept
