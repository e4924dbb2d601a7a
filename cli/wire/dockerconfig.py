"""Who this user is at which registry: docker's config.json, and the programs that keep secrets for it.

The daemon never reads the file nor runs such a program: it is told what it needs with each request.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import subprocess
from pathlib import Path

from hawse.cli.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Auth = dict[str, str]

DOCKER_HUB = "https://index.docker.io/v1/"
"""What Docker's own registry is called in the file."""
PATIENCE = 20.0
"""Seconds that a program which keeps secrets may take; some wait for ever for somebody to click."""
_IS_TOKEN = "<token>"
"""As the user's name: the secret is an identity token (docker-credential-helpers)."""


def place() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def key(registry: str) -> str:
    """Return what a registry is called in the file."""
    host = registry.rpartition("://")[2].partition("/")[0]
    return DOCKER_HUB if host in ("", "docker.io", "index.docker.io", "registry-1.docker.io") else host


def find(registry: str) -> Auth:
    """Return docker's AuthConfig for a registry, {} for nobody.  Raises Failure."""
    config, wanted = _read(), key(registry)
    if helper := _helper(config, wanted):
        return _ask(helper, wanted)
    for name, kept in (config.get("auths") or {}).items():
        if key(name) == wanted and isinstance(kept, dict):
            return _decoded(kept, wanted)
    return {}


def header(registry: str) -> dict[str, str]:
    """Return the header of a request that is about a registry.  Raises Failure."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(find(registry)).encode()).decode()}


def keep(registry: str, auth: Auth) -> str:
    """Remember it; returns a warning where the secret is readable in a file, or "".  Raises Failure."""
    config, name = _read(), key(registry)
    if helper := _helper(config, name):
        user, secret = (
            (_IS_TOKEN, auth["identitytoken"]) if auth.get("identitytoken") else (auth["username"], auth["password"])
        )
        _run(helper, "store", json.dumps({"ServerURL": name, "Username": user, "Secret": secret}))
        config.setdefault("auths", {})[name] = {}
        _write(config)
        return ""
    if token := auth.get("identitytoken"):
        kept = {"auth": _encoded(f"{auth['username']}:"), "identitytoken": token}
    else:
        kept = {"auth": _encoded(f"{auth['username']}:{auth['password']}")}
    config.setdefault("auths", {})[name] = kept
    _write(config)
    return f"Your password is stored unencrypted in {place()}; a credential helper (credsStore) keeps it elsewhere."


def forget(registry: str) -> bool:
    """Tell whether there was anything to forget.  Raises Failure."""
    config, name = _read(), key(registry)
    auths = config.get("auths") or {}
    mine = [kept for kept in auths if key(kept) == name]
    if helper := _helper(config, name):
        _run(helper, "erase", name)
    for one in mine:
        del auths[one]
    if mine:
        _write(config)
    return bool(mine)


def _read() -> dict[str, Any]:
    try:
        config = json.loads(place().read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as e:
        raise Failure(f"{place()} cannot be read: {e}") from None
    if not isinstance(config, dict):
        raise Failure(f"{place()} cannot be read: it is no JSON object")
    return config


def _write(config: dict[str, Any]) -> None:
    """In one step, and for nobody else to read."""
    target = Path(os.path.realpath(place()))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(config, file, indent="\t")
        os.replace(new, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        raise


def _helper(config: dict[str, Any], name: str) -> str:
    return str((config.get("credHelpers") or {}).get(name) or config.get("credsStore") or "")


def _ask(helper: str, name: str) -> Auth:
    said = _run(helper, "get", name)
    if not said:
        return {}
    try:
        answer = json.loads(said)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise Failure(f"docker-credential-{helper} get: its answer cannot be read") from None
    if user == _IS_TOKEN:
        return {"identitytoken": secret, "serveraddress": name}
    return {"username": user, "password": secret, "serveraddress": name}


def _run(helper: str, verb: str, text: str) -> str:
    """Return what it says; "" for what it does not know."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise Failure(f"{program} is not installed; {place()} says that it keeps the credentials of {text}") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{program} {verb} has not answered in {PATIENCE:g} s, and was ended") from None
    if done.returncode:
        said = (done.stdout or done.stderr).strip()
        if "credentials not found" in said:
            return ""
        raise Failure(f"error getting credentials - {program} {verb}: {said or f'exit status {done.returncode}'}")
    return done.stdout


def _decoded(kept: dict[str, Any], name: str) -> Auth:
    found = {k: str(kept[k]) for k in ("username", "password", "identitytoken", "registrytoken") if kept.get(k)}
    if encoded := kept.get("auth"):
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, TypeError):
            raise Failure(f"{place()}: the auth of {name} is no base64 of NAME:PASSWORD; log in again") from None
        found |= {"username": user, "password": password.rstrip("\0")}
    return {**found, "serveraddress": name} if found else {}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
