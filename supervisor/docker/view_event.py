"""The journal's events as Docker shows them.  Pure.

One event of ours may be none of Docker's (recovery, hooks) or several (an exec, an exit that a stop asked for).  Names and
attributes are those that clients match on; the legacy fields status, id and from are kept because API 1.51 and before have
them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, assert_never

from hawse.supervisor.core import events as facts
from hawse.supervisor.core.events import Event
from hawse.supervisor.core.model import Container
from hawse.supervisor.docker.event_words import words
from hawse.supervisor.docker.filters import Filters
from hawse.supervisor.docker.text import UNKNOWN_EXIT
from hawse.supervisor.docker.view_container import image_name

FILTERS = frozenset(
    "config container daemon event image label network node plugin scope secret service type volume".split()
)


def docker_events(event: Event, network_ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what Docker would have said; `network_ids` gives the ids of networks by name."""
    return [view for word in words(event.fact) for view in _views(event, word, network_ids)]


def _views(event: Event, word: str, network_ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what is told with one word; mounts are one event for each volume."""
    match event.fact:
        case facts.ExecStarted(container=container, exec_id=exec_id, argv=argv):
            return [_container(event, container, f"{word}: {shlex.join(argv)}", execID=exec_id)]
        case facts.ExecEnded(container=container, exec_id=exec_id, code=code):
            return [_container(event, container, word, execID=exec_id, exitCode=_code(code))]
        case facts.ContainerStarted(container=container) | facts.ContainerExited(container=container) if word in (
            "mount",
            "unmount",
        ):
            return _mounted(event, container, word)
        case facts.ContainerExited(container=container, exit=ended, ran_ns=ran) if word == "die":
            return [_container(event, container, word, exitCode=_code(ended.code), execDuration=str(ran // 10**9))]
        case facts.ContainerKilled(container=container, signal=signal):
            return [_container(event, container, word, signal=str(signal))]
        case facts.ContainerRenamed(container=container, old_name=old):
            return [_container(event, container, word, oldName=f"/{old.removeprefix('/')}")]
        case facts.ContainerHealthChanged(container=container, status=status):
            return [_container(event, container, f"{word}: {status}")]
        case facts.ContainerCommitted(container=container, image_id=image_id):
            return [_container(event, container, word, imageID=image_id)]
        case facts.NetworkConnected(container=container, endpoint=endpoint):
            return [_plug(event, word, endpoint.network, container, network_ids)]
        case facts.NetworkDisconnected(container=container, endpoint=endpoint):
            return [_plug(event, word, endpoint.network, container, network_ids)]
        case facts.NetworkCreated(network=network) | facts.NetworkRemoved(network=network):
            return [_event(event, "network", word, network.id, {"name": network.name, "type": network.driver})]
        case facts.ImagePulled(image=image, name=name):
            return [
                _event(event, "image", word, name, {"name": name.rpartition(":")[0] or name, **image.config.labels})
            ]
        case facts.ImageTagged(image=image, tag=tag) | facts.ImageUntagged(image=image, tag=tag):
            return [_image(event, word, image.id, tag)]
        case facts.ImageCreated(image=image) | facts.ImageRemoved(image=image):
            return [_image(event, word, image.id, image.tags[0] if image.tags else image.id)]
        case facts.VolumeCreated(volume=volume) | facts.VolumeRemoved(volume=volume):
            return [_event(event, "volume", word, volume.name, {"driver": "local"})]
        case (
            facts.ContainerCreated(container=container)
            | facts.ContainerStarted(container=container)
            | facts.ContainerExited(container=container)
            | facts.ContainerOom(container=container)
            | facts.ContainerPaused(container=container)
            | facts.ContainerResumed(container=container)
            | facts.ContainerUpdated(container=container)
            | facts.ContainerRemoved(container=container)
        ):
            return [_container(event, container, word)]
        case (
            facts.ContainerRestarting()
            | facts.ContainerStartFailed()
            | facts.ContainerQuarantined()
            | facts.NetworkObstructed()
            | facts.NetworkCleared()
            | facts.NetworkLeft()
            | facts.NetworkPublished()
            | facts.NetworkPortTaken()
            | facts.NetworkRepaired()
            | facts.HookSucceeded()
            | facts.HookFailed()
            | facts.HookDead()
            | facts.DaemonStarted()
            | facts.DaemonRecovered()
        ):
            return []  # Docker has no word for these
        case fact:
            assert_never(fact)


def matches(view: Mapping[str, Any], wanted: Filters) -> bool:
    """Tell whether a Docker event passes the filters of GET /events."""
    kind, action, actor = view["Type"], view["Action"], view["Actor"]
    attributes = actor["Attributes"]
    if not wanted.exact("type", kind) or not wanted.exact("scope", view["scope"]):
        return False
    # "exec_create: ls" is found by "exec_create", "health_status: healthy" by "health_status"
    if not wanted.exact("event", action, action.partition(":")[0]):
        return False
    if not wanted.labels(attributes):
        return False
    name = attributes.get("name", "")
    for key in ("container", "network", "volume"):
        if wanted.get(key):
            if kind == key:
                if not (wanted.exact(key, name) or wanted.prefix(key, actor["ID"])):
                    return False
            elif key != "container" or kind != "network" or not wanted.prefix(key, attributes.get("container", "")):
                return False
    if wanted.get("image"):
        image = name if kind == "image" else attributes.get("image", "")
        return image != "" and wanted.exact("image", image, image.partition(":")[0], actor["ID"])
    return not any(wanted.get(key) for key in ("daemon", "plugin", "service", "node", "secret", "config"))


def _container(event: Event, container: Container, action: str, **more: str) -> dict[str, Any]:
    image = image_name(container.config)
    attributes = {**container.config.labels, **more, "image": image, "name": container.name}
    legacy = {"status": action, "id": container.id, "from": image}
    return {**legacy, **_event(event, "container", action, container.id, attributes)}


def _mounted(event: Event, container: Container, action: str) -> list[dict[str, Any]]:
    views = []
    for mount in container.config.mounts:
        if mount.type == "volume":
            attributes = {"container": container.id, "driver": "local"}
            if action == "mount":
                access = "false" if mount.read_only else "true"
                attributes |= {"destination": mount.target, "propagation": "", "read/write": access}
            views.append(_event(event, "volume", action, mount.source, attributes))
    return views


def _image(event: Event, action: str, image_id: str, name: str) -> dict[str, Any]:
    return {"status": action, "id": name, **_event(event, "image", action, image_id, {"name": name})}


def _plug(event: Event, action: str, network: str, container: Container, ids: Mapping[str, str]) -> dict[str, Any]:
    attributes = {"container": container.id, "name": network, "type": "bridge"}
    return _event(event, "network", action, ids.get(network, network), attributes)


def _event(event: Event, kind: str, action: str, actor: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": dict(attributes)},
        "scope": "local",
        "time": event.time // 10**9,
        "timeNano": event.time,
    }


def _code(code: int | None) -> str:
    return str(UNKNOWN_EXIT if code is None else code)
