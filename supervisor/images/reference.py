"""Image names as Docker understands them: `[registry/]path[:tag]`, short where they can be.  Pure.

distribution/reference's grammar (read 2026-08).  Names are kept in their familiar form: `docker.io/library/busybox` is
`busybox`, and a missing tag is `latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hawse.supervisor.core.errors import UserError

DEFAULT_TAG = "latest"
LONGEST_NAME = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}\Z")
_ID_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A checked name; `str` gives the form that is stored: name:tag."""

    name: str
    tag: str = DEFAULT_TAG

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def parse(text: str) -> Reference:
    """Raises UserError in Docker's words."""
    if "@" in text:
        raise UserError(f"invalid reference format: {text}: digests are only known to registries")
    head, slash, last = text.rpartition("/")
    base, colon, tag = last.partition(":")
    name = f"{head}{slash}{base}"
    if colon and not _TAG.match(tag):
        raise UserError(f"invalid reference format: {text}", hint="a tag is letters, digits, _ . and -, at most 128")
    domain, path = _split_domain(name)
    if not _PATH.match(path) or not _DOMAIN.match(domain or "docker.io"):
        if path != path.lower() and _PATH.match(path.lower()):
            raise UserError(f"invalid reference format: repository name ({path}) must be lowercase")
        raise UserError(f"invalid reference format: {text!r}", hint="[registry/]name[:tag]")
    if len(name) > LONGEST_NAME:
        raise UserError(f"invalid reference format: repository name must not be more than {LONGEST_NAME} characters")
    if not domain and _ID.match(path):
        raise UserError(f"invalid repository name ({path}), cannot specify 64-byte hexadecimal strings")
    return Reference(f"{domain}/{path}" if domain else path, tag or DEFAULT_TAG)


def joined(repository: str, tag: str) -> str:
    """The name in an API call's separate `repo` and `tag`; "" when there is none."""
    return f"{repository}:{tag}" if repository and tag else repository


def may_be_id(text: str) -> bool:
    """It has the form of an image id or the beginning of one."""
    return _ID_PREFIX.match(text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    """The registry, "" for Docker's own, and the rest.  A first part is a registry if it looks like a host."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return "", name.removeprefix("library/")
    if first in ("docker.io", "index.docker.io"):
        return "", rest.removeprefix("library/")
    return first, rest
