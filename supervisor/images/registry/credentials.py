"""What a client says who it is at a registry: X-Registry-Auth.  Pure."""

from __future__ import annotations

import base64

import msgspec

from hawse.supervisor.core.errors import UserError


class Credentials(msgspec.Struct, frozen=True, kw_only=True, rename="lower"):
    """Docker's AuthConfig (api/types/registry, read 2026-08).

    `identity_token` is what a login gave instead of the password to keep; `registry_token` is sent as it is.
    """

    username: str = ""
    password: str = ""
    server_address: str = msgspec.field(default="", name="serveraddress")
    identity_token: str = msgspec.field(default="", name="identitytoken")
    registry_token: str = msgspec.field(default="", name="registrytoken")

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)

    def __repr__(self) -> str:
        """Without what is secret: it may stand in a log or a traceback."""
        return f"Credentials(username={self.username!r}, server_address={self.server_address!r}, ...)"

    @property
    def basic(self) -> str:
        """The value of Authorization with name and password (RFC 7617)."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


NOBODY = Credentials()


def parse(header: str) -> Credentials:
    """Read the header: JSON in base64url, with its padding or without; clients also send the usual base64.

    Raises UserError, in whose words nothing of it stands.
    """
    if not header:
        return NOBODY
    try:
        text = header.strip().translate(str.maketrans("+/", "-_")).rstrip("=")
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(decoded, type=Credentials)
    except (ValueError, RecursionError, msgspec.MsgspecError) as e:
        raise UserError(
            "X-Registry-Auth cannot be read", hint='base64url of {"username": ..., "password": ...} is expected'
        ) from e
