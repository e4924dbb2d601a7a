"""An image is fetched by the daemon, with the credentials that this user has for its registry."""

from __future__ import annotations

import json

from hawse.cli.errors import Failure
from hawse.cli.wire import dockerconfig
from hawse.cli.wire.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Tell = Callable[[dict[str, Any]], None]

DEFAULT_TAG = "latest"


def split(name: str) -> tuple[str, str]:
    """(repository, tag or digest), the latter "" where none is said; a colon before a slash is a registry's port."""
    repository, at, digest = name.partition("@")
    if at:
        head, colon, tag = repository.rpartition(":")
        return (head if colon and "/" not in tag else repository), digest
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "")


def pull(client: Client, name: str, *, platform: str, every_tag: bool, tell: Tell) -> None:
    """`tell` is given each line of docker's JSON.  Raises ApiError, Failure for what went wrong on the way."""
    repository, target = split(name)
    query = {
        "fromImage": repository,
        "tag": target or (None if every_tag else DEFAULT_TAG),
        "platform": platform or None,
    }
    steps(client, "/images/create", query, repository, tell)


def steps(client: Client, path: str, query: Mapping[str, object], repository: str, tell: Tell) -> None:
    """Have the daemon talk to the registry of a repository.  Raises ApiError, Failure for what went wrong on the way."""
    with client.open("POST", path, query, headers=dockerconfig.header(registry(repository))) as response:
        for text in response.lines():
            line = json.loads(text)
            if "error" in line:
                raise Failure(line["error"])
            if "aux" not in line:
                tell(line)


def registry(repository: str) -> str:
    """Return the host that a name begins with, or Docker's own registry."""
    first, slash, _ = repository.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def full_name(name: str) -> str:
    """Return it as docker prints it after a pull: with registry and tag."""
    repository, target = split(name)
    if "/" not in repository:
        repository = f"docker.io/library/{repository}"
    elif registry(repository) == "docker.io" and not repository.startswith("docker.io/"):
        repository = f"docker.io/{repository}"
    return f"{repository}@{target}" if target.startswith("sha256:") else f"{repository}:{target or DEFAULT_TAG}"


def familiar(name: str) -> str:
    """Return it as docker prints what is missing: with a tag."""
    return name if split(name)[1] else f"{name}:{DEFAULT_TAG}"
