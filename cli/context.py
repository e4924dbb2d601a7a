"""Which daemon a command talks to, from flags, environment and configuration file, in the daemon's own order."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hawse.cli.errors import Failure
from hawse.cli.wire.client import Client, absent
from hawse.supervisor.api import wire

RUN_DIR = os.path.dirname(wire.DEFAULT_SOCKET)
CONFIG = "/etc/hawse/hawse.toml"


class Context:
    """What every verb needs: the client, made when first used."""

    def __init__(self, flags: Mapping[str, str], environ: Mapping[str, str], autostart: bool = True) -> None:
        self.flags = dict(flags)
        self.path = "hawse"  # the verb as it was typed, for messages
        self.run_dir, self.socket_path = _places(self.flags, environ)
        self.autostart = autostart and environ.get("HAWSE_AUTOSTART", "1").lower() not in ("0", "false", "no", "off")
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.socket_path, self._on_absent)
        return self._client

    def _on_absent(self) -> None:
        from hawse.cli.wire.running import refuse_removed

        refuse_removed(self.run_dir, self.socket_path)
        if not self.autostart:
            raise absent(self.socket_path)
        from hawse.cli.wire.autostart import start_detached

        start_detached(self.run_dir, self.socket_path, self.flags)


def _places(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[str, str]:
    """(run directory, socket).  Raises Failure."""
    file = _file(flags.get("config") or environ.get("HAWSE_CONFIG", ""))
    run_dir = flags.get("run-dir") or environ.get("HAWSE_RUN_DIR") or file.get("run_dir") or RUN_DIR
    host = flags.get("host") or environ.get("HAWSE_HOST") or file.get("host") or f"{run_dir}/hawse.sock"
    path = host.removeprefix("unix://")
    if not path.startswith("/"):
        raise Failure(f"invalid host {host!r}: hawse listens on unix sockets only (unix:///run/hawse/hawse.sock)")
    if len(os.fsencode(path)) > 107:
        raise Failure(f"the socket's path is too long for the kernel (107 bytes): {path}")
    return run_dir, path


def _file(path: str) -> dict[str, str]:
    """The configuration file where it can matter to a client: tomllib is 4 ms of import, a look at the text is not."""
    try:
        with open(path or CONFIG, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        if path:
            raise Failure(f"{path}: no such configuration file") from None
        return {}
    except OSError as e:
        if path:
            raise Failure(f"{path}: {e.strerror}") from None
        return {}  # another user may not read it; flags and environment still hold
    if b"host" not in text and b"run_dir" not in text:
        return {}
    import tomllib

    try:
        return {key: str(value) for key, value in tomllib.loads(text.decode()).items()}
    except ValueError as e:
        raise Failure(f"{path or CONFIG}: not valid TOML: {e}") from None
