"""What a gate hook may answer on its standard output: JSON that adds to the container, read as a user's request is.

    {"env": ["K=V"], "labels": {"k": "v"}, "mounts": ["/host:/inside:ro"], "dns": ["10.0.0.1"], "ports": ["8080:80/tcp"]}

`pre-create` may add all of it, `pre-start` env, labels and dns.  The same key, target or port again replaces, so that asking
twice changes nothing more.  Pure.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.events import PreCreate, PreStart, Question
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.docker import decode_host, decode_mounts, decode_ports
from hawse.supervisor.docker.body import Body, parse

ALLOWED = {PreCreate.TYPE: ("env", "labels", "mounts", "dns", "ports"), PreStart.TYPE: ("env", "labels", "dns")}


def apply(question: Question, data: bytes) -> Question:
    """The question with the answer in it; an empty answer changes nothing.  Raises UserError."""
    if not data.strip():
        return question
    answer = parse(data)
    allowed = ALLOWED.get(question.TYPE, ())
    if other := [key for key in answer if key not in allowed]:
        raise UserError(f"an answer to {question.TYPE} cannot have {other[0]!r}", hint=f"allowed: {', '.join(allowed)}")
    container = question.container
    return replace(question, container=replace(container, config=_merged(container.config, answer)))


def _merged(config: ContainerConfig, answer: Body) -> ContainerConfig:
    env = answer.strings("env")
    if bad := [entry for entry in env if entry.partition("=")[0] == "" or "=" not in entry]:
        raise UserError(f"env: {bad[0]!r} must be NAME=value")
    names = {entry.partition("=")[0] for entry in env}
    added = tuple(decode_mounts.bind(text, "mounts") for text in answer.strings("mounts"))
    targets = {mount.target for mount in added}
    dns = decode_host.resolvers(Body({"Dns": list(answer.strings("dns"))}))
    ports = decode_ports.bindings(Body({"PortBindings": _places(answer)}))
    return replace(
        config,
        env=(*(e for e in config.env if e.partition("=")[0] not in names), *env),
        labels={**config.labels, **answer.strings_map("labels")},
        mounts=(*(m for m in config.mounts if m.target not in targets), *added),
        dns=tuple(dict.fromkeys((*dns, *config.dns))),
        ports=tuple(dict.fromkeys((*config.ports, *ports))),
        exposed=tuple(dict.fromkeys((*config.exposed, *(f"{p.container_port}/{p.proto}" for p in ports)))),
    )


def _places(answer: Body) -> dict[str, Any]:
    """`[IP:]HOST:CONTAINER[/proto]` as docker's PortBindings."""
    places: dict[str, Any] = {}
    for text in answer.strings("ports"):
        outside, colon, inside = text.rpartition(":")
        ip, _, host = outside.rpartition(":")
        port, _, proto = inside.partition("/")
        key = f"{port}/{proto or 'tcp'}"
        places.setdefault(key, []).append({"HostIp": ip, "HostPort": host if colon else ""})
    return places
