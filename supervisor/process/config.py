"""The daemon's configuration: built once in __main__ (defaults < file < environment < flags), validated, frozen.

Nothing reads the environment later, and nobody gets the whole of it who needs a part.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any

from hawse.supervisor.core.errors import UserError

DEFAULT_ROOT = Path("/var/lib/hawse")
DEFAULT_RUN_DIR = Path("/run/hawse")
DEFAULT_CONFIG = Path("/etc/hawse/hawse.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "console", "json")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")
INSTANCE = re.compile(r"[a-z0-9]{1,4}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set.

    `instance` is "" for the only or first one; another value (1–4 of a-z0-9) prefixes every kernel object's name, so
    that several daemons live side by side.
    """

    root: Path = DEFAULT_ROOT
    run_dir: Path = DEFAULT_RUN_DIR
    instance: str = ""
    host: Path | None = None  # the API socket; None = run_dir/hawse.sock
    hooks_dir: Path = Path("/etc/hawse/hooks.d")
    vendor_hooks_dir: Path = Path("/usr/lib/hawse/hooks.d")
    handlers_dir: Path = Path("/etc/hawse/handlers.d")
    address_pools: tuple[str, ...] = ("172.30.0.0/15", "10.89.0.0/16", "192.168.192.0/18")  # cut into /24s
    bridge_subnet: str = ""  # of the network "bridge"; "" = the first free of the pools
    subid_base: int = 2_000_000  # first host id given to a container's user namespace
    log_level: str = "info"
    log_format: str = "auto"  # console on a terminal, else json
    journal_max_age: int = 30 * 86_400  # seconds
    journal_max_bytes: int = 1 << 30
    audit_interval: float = 30.0  # seconds between two periodic audits
    group: str = ""  # group of the API socket; "" = root's
    registry_mirrors: tuple[str, ...] = ()  # URLs asked before Docker's own registry
    insecure_registries: tuple[str, ...] = ()  # host[:port] or subnets that need no TLS, or no proof of it
    durable: bool = True  # an answer that tells of a change is held until that is on the disk

    @property
    def socket_path(self) -> Path:
        return self.host or self.run_dir / "hawse.sock"

    @property
    def table(self) -> str:
        """The name of our nftables table, family inet."""
        return f"hawse_{self.instance}" if self.instance else "hawse"

    @property
    def tag(self) -> str:
        """The owner's mark on kernel objects: link aliases and element comments begin with it and a colon."""
        return self.table


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Merge defaults, file, HAWSE_* and flags (a flag that is None was not given).

    Raises UserError that names the key, the value and what it must look like.
    """
    given = {k: v for k, v in flags.items() if v is not None}
    path = Path(given.pop("config", None) or environ.get("HAWSE_CONFIG") or DEFAULT_CONFIG)
    merged: dict[str, Any] = {}
    if path.exists():
        try:
            merged.update(tomllib.loads(path.read_text()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise UserError(f"{path}: not valid TOML: {e}") from e
    elif path != DEFAULT_CONFIG:
        raise UserError(f"{path}: no such configuration file")
    known = {f.name: f for f in fields(Config)}
    for key in merged:
        if key not in known:
            raise UserError(f"{path}: unknown key {key!r}", hint=f"known: {', '.join(sorted(known))}")
    for name in known:
        if (value := environ.get(f"HAWSE_{name.upper()}")) is not None:
            merged[name] = value
    merged.update(given)
    return Config(**{k: _typed(k, v, known[k].default) for k, v in merged.items()})


def _typed(key: str, value: Any, default: Any) -> Any:
    """`value` as the type of the default of `key`; strings come from the environment."""
    try:
        if key == "instance" and not (value == "" or INSTANCE.match(value)):
            raise ValueError("1 to 4 characters of a-z and 0-9")
        if isinstance(default, Path) or key == "host":
            text = str(value).removeprefix("unix://")
            if not text.startswith("/"):
                raise ValueError("an absolute path")
            return Path(text)
        if isinstance(default, tuple):
            values = tuple(value.split(",") if isinstance(value, str) else map(str, value))
            for one in values:
                _CHECKS[key](one)
            return values
        if isinstance(default, bool):
            return _switch(value)
        if isinstance(default, int | float):
            number = type(default)(value)
            if not 0 < number < float("inf"):
                raise ValueError("a number above 0")
            return number
        for name, choices in (("log_level", LOG_LEVELS), ("log_format", LOG_FORMATS)):
            if key == name and value not in choices:
                raise ValueError(f"one of {', '.join(choices)}")
        return str(value)
    except (TypeError, ValueError) as e:
        raise UserError(f"configuration {key} = {value!r} is not valid: {e}") from e


def _check_mirror(url: str) -> None:
    """Raises ValueError."""
    scheme, _, host = url.partition("://")
    if scheme not in ("https", "http") or not _HOST.match(host.removesuffix("/")):
        raise ValueError(f"{url!r} is no URL of a registry: https://host[:port] or http://host[:port], without a path")


def _check_insecure(entry: str) -> None:
    """Raises ValueError."""
    if "/" in entry and "://" not in entry:
        ip_network(entry)
    elif not _HOST.match(entry):
        raise ValueError(f"{entry!r} is neither host[:port] nor a subnet as 10.0.0.0/8")


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "address_pools": IPv4Network,
    "registry_mirrors": _check_mirror,
    "insecure_registries": _check_insecure,
}
"""For the keys that are lists, what raises ValueError for a bad entry."""


def _switch(value: Any) -> bool:
    """A flag and the environment have words, the file may have TOML's own."""
    known = {"on": True, "off": False, True: True, False: False}
    if value not in known:
        raise ValueError('"on" or "off"')
    return known[value]
