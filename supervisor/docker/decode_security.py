"""HostConfig.SecurityOpt → the model.  Pure: whether the machine has what is asked for is checked where it is known.

Nothing is accepted and passed over: an option is honoured, says what holds anyway, or is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.docker.body import Body

_PROFILE = re.compile(r"[\w/:.][\x21-\x7e]{0,254}\Z", re.ASCII)
"""What apparmor.d(5) lets a profile be called, but for spaces: the kernel cuts them off the ends of what it is told."""
_SWITCHES = ("", "true", "false")
_REFUSED = {
    "label": "hawse sets no SELinux labels; label=disable says what holds anyway",
    "systempaths": "--privileged shows all of /proc and /sys",
    "writable-cgroups": "--privileged has its cgroups writable",
    "mask": "hawse masks what docker masks, no more and no less",
    "unmask": "--privileged shows all of /proc and /sys",
    "proc-opts": "/proc is mounted as docker mounts it",
}


@dataclass(frozen=True, slots=True)
class Security:
    no_new_privileges: bool
    seccomp: str
    apparmor: str


def security(outer: Body, warnings: list[str]) -> Security:
    """no-new-privileges, seccomp and apparmor.  Raises UserError for any other; the last of several counts."""
    default = ContainerConfig()
    privileges, seccomp, apparmor = default.no_new_privileges, default.seccomp, default.apparmor
    pointless = []
    for option in outer.strings("SecurityOpt"):
        name, separator, value = option.partition("=" if "=" in option else ":")  # the colon is docker's older way
        match name:
            case "no-new-privileges":
                if value not in _SWITCHES or (separator and not value):
                    raise UserError(f'invalid --security-opt 2: "{option[:80]}"', hint="no-new-privileges[=true|false]")
                privileges = value != "false"
                pointless += [option] if privileges else []
            case "seccomp" if separator:
                if value not in ("unconfined", "default", "builtin"):
                    raise UserError(
                        f"invalid security option {option[:80]!r}", hint="seccomp=unconfined or seccomp=builtin"
                    )
                seccomp = "unconfined" if value == "unconfined" else "default"
                pointless += [option] if seccomp == "default" else []
            case "apparmor" if separator:
                if not _PROFILE.match(value):
                    raise UserError(
                        f"invalid security option {option[:80]!r}",
                        hint="apparmor=PROFILE, the name of a loaded profile, or apparmor=unconfined",
                    )
                apparmor = value
            case _ if option not in _HOLD_ANYWAY:
                if name in _REFUSED and separator:
                    raise UserError(f"--security-opt {option[:80]} is not supported", hint=_REFUSED[name])
                raise UserError(
                    f'invalid --security-opt: "{option[:80]}"',
                    hint="known: no-new-privileges, seccomp=unconfined, apparmor=PROFILE",
                )
    if outer.flag("Privileged"):
        warnings += [f"--security-opt {option} was discarded: --privileged is without it" for option in pointless]
    return Security(privileges, seccomp, apparmor)


_HOLD_ANYWAY = ("label=disable", "label:disable", "writable-cgroups=false")
