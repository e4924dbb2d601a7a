"""Image names as Docker understands them: `[registry/]path[:tag][@digest]`, short where they can be.  Pure.

distribution/reference's grammar (read 2026-08).  Names are kept in their familiar form: `docker.io/library/busybox` is
`busybox`, and a missing tag is `latest`, unless a digest says more exactly what is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hawse.supervisor.core.errors import UserError

DEFAULT_TAG = "latest"
DEFAULT_DOMAIN = "docker.io"
LONGEST_NAME = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ID = re.compile(r"[0-9a-f]{64}\Z")
_ID_PREFIX = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A checked name; `str` gives the form that is stored: name:tag, and what a registry may be asked for by digest.

    With a digest the tag may be "", and says nothing about what is meant: docker pulls by the digest, too.
    """

    name: str
    tag: str = DEFAULT_TAG
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"

    @property
    def domain(self) -> str:
        """The registry: a host, perhaps with a port."""
        return _split_domain(self.name)[0] or DEFAULT_DOMAIN

    @property
    def path(self) -> str:
        """The repository in its registry; Docker's own has those of one part below `library/`."""
        domain, path = _split_domain(self.name)
        return path if domain or "/" in path else f"library/{path}"

    @property
    def target(self) -> str:
        """Return what a registry is asked for."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """Read a name as people write it.  Raises UserError in Docker's words."""
    named, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise UserError(f"invalid reference format: {text!r}", hint="a digest is sha256: and 64 hexadecimal digits")
    head, slash, last = named.rpartition("/")
    base, colon, tag = last.partition(":")
    name = f"{head}{slash}{base}"
    if colon and not _TAG.match(tag):
        raise UserError(f"invalid reference format: {text}", hint="a tag is letters, digits, _ . and -, at most 128")
    domain, path = _split_domain(name)
    if not _PATH.match(path) or not _DOMAIN.match(domain or DEFAULT_DOMAIN):
        if path != path.lower() and _PATH.match(path.lower()):
            raise UserError(f"invalid reference format: repository name ({path}) must be lowercase")
        raise UserError(f"invalid reference format: {text!r}", hint="[registry/]name[:tag][@digest]")
    if len(name) > LONGEST_NAME:
        raise UserError(f"invalid reference format: repository name must not be more than {LONGEST_NAME} characters")
    if not domain and _ID.match(path):
        raise UserError(f"invalid repository name ({path}), cannot specify 64-byte hexadecimal strings")
    return Reference(f"{domain}/{path}" if domain else path, tag or ("" if digest else DEFAULT_TAG), digest)


def parse_new_name(text: str) -> Reference:
    """Read a name that an image here is to be given: a digest is not given but had.  Raises UserError."""
    found = parse(text)
    if found.digest:
        raise UserError("refusing to create a tag with a digest reference", hint=f"leave out @{found.digest}")
    return found


def joined(repository: str, tag: str) -> str:
    """The name in an API call's separate `repo` and `tag`; "" when there is none."""
    return f"{repository}:{tag}" if repository and tag else repository


def may_be_id(text: str) -> bool:
    """It has the form of an image id or the beginning of one."""
    return _ID_PREFIX.match(text) is not None


def is_digest(text: str) -> bool:
    """It is one of SHA-256, the algorithm of all registries that there are."""
    return _DIGEST.match(text) is not None


def _split_domain(name: str) -> tuple[str, str]:
    """The registry, "" for Docker's own, and the rest.

    Docker's own is named only where its repository would be taken for another registry's: docker.io/localhost/app.
    """
    first, slash, rest = name.partition("/")
    if not slash or not _is_host(first):
        return "", _unofficial(name)
    if first not in (DEFAULT_DOMAIN, "index.docker.io"):
        return first, rest
    return (DEFAULT_DOMAIN if "/" in rest and _is_host(rest.partition("/")[0]) else ""), _unofficial(rest)


def _is_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _unofficial(path: str) -> str:
    """Without `library/`, of what has only one part below it."""
    official = path.removeprefix("library/")
    return path if "/" in official else official
