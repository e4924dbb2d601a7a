"""Links: names under which one container finds another.  Pure.

On a network of a user's they are aliases that only the asker has (dns/directory.py), on the default one, which has no
names, lines in its /etc/hosts (lifecycle/links.py).  Docker's environment variables of links are not made.
"""

from __future__ import annotations

from hawse.supervisor.core.errors import UserError


def links(given: tuple[str, ...]) -> tuple[str, ...]:
    """`NAME`, `NAME:ALIAS` and inspect's own `/NAME:/PARENT/ALIAS` as "NAME:ALIAS".  Raises UserError."""
    return tuple(_link(text) for text in given)


def _link(text: str) -> str:
    name, separator, alias = text.partition(":")
    name, alias = name.removeprefix("/"), alias.rpartition("/")[2]
    if not name or ":" in alias or (separator and not alias) or any(c.isspace() for c in text):
        raise UserError(f"bad format for links: {text}", hint="CONTAINER or CONTAINER:ALIAS")
    return f"{name}:{alias or name}"
