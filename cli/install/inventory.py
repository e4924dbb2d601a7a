"""What `hawse system install` puts in place: the one list, which is to be extended here.

Everything that nobody edits is below /usr/local, which is the administrator's own software to every tool that looks there:
systemd.unit(5) has /usr/local/lib/systemd/system for it, and leaves /etc/systemd/system to overrides (`systemctl edit`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from hawse.cli.install.manual import manual

UNITS = ("hawse.socket", "hawse.service")
PULLED_UNITS = ("hawse-containers.service", "hawse-shutdown.service")
"""What hawse.service brings along: started with it, and left alone when it is restarted or stopped."""
UNIT_DIRECTORY = "/usr/local/lib/systemd/system"
CONFIG = "/etc/hawse/hawse.toml"
DIRECTORIES = ("/etc/hawse/hooks.d", "/etc/hawse/handlers.d")
COMPLETIONS = {
    "hawse.bash": "/usr/local/share/bash-completion/completions/hawse",
    "_hawse": "/usr/local/share/zsh/site-functions/_hawse",
    # fish looks into /usr/local/share only where XDG_DATA_DIRS says so, which a server's login does not
    "hawse.fish": "/etc/fish/completions/hawse.fish",
}
PROFILE = "/etc/apparmor.d/hawse-default"
"""AppArmor's directory for what is loaded at each boot."""
UDEV_RULES = "/usr/local/lib/udev/rules.d/84-hawse.rules"
NETWORKD = "/usr/local/lib/systemd/network/00-hawse.network"
"""They keep systemd-networkd and NetworkManager away from our devices."""
MANUAL = "/usr/local/share/man/man1/hawse.1"
LINK = "/usr/local/bin/hawse"
_FOUND = ("/usr/local/bin", "/usr/bin", "/bin")
"""Directories of every PATH: a program that is there needs no link."""
_PACKAGED_PROGRAM = "/usr/bin/hawse"
"""What the units in cli/install/packaged/ execute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file with `content`, or with `link` a symbolic link to it.  `config` belongs to the administrator once changed."""

    path: str
    content: bytes = b""
    link: str = ""
    config: bool = False

    @property
    def mark(self) -> str:
        return mark(self.content, self.link)


def mark(content: bytes, link: str) -> str:
    """By which an installed file is known again."""
    return f"link:{link}" if link else sha256(content).hexdigest()


def inventory(program: str, *, systemd: bool, apparmor: bool) -> tuple[Item, ...]:
    """All of it, for the hawse whose program is at that absolute path; units and profile where there is something for them."""
    items = [Item(path=CONFIG, content=_packaged("hawse.toml"), config=True)]
    if os.path.dirname(program) not in _FOUND:
        items.append(Item(path=LINK, link=program))
    items += [Item(path=path, content=_packaged(f"completions/{name}")) for name, path in COMPLETIONS.items()]
    items.append(Item(path=MANUAL, content=manual().encode()))
    if apparmor:
        items.append(Item(path=PROFILE, content=_packaged("hawse-default.apparmor"), config=True))
    if systemd:
        items += [Item(path=f"{UNIT_DIRECTORY}/{name}", content=_unit(name, program)) for name in UNITS + PULLED_UNITS]
        items += [Item(path=path, content=_packaged(os.path.basename(path))) for path in (UDEV_RULES, NETWORKD)]
    return tuple(items)


def _unit(name: str, program: str) -> bytes:
    return _packaged(name).replace(_PACKAGED_PROGRAM.encode(), program.encode())


def _packaged(name: str) -> bytes:
    return files("hawse.cli.install").joinpath("packaged", name).read_bytes()
