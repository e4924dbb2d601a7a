"""Which AppArmor profile the programs of a container run under: docker's rule, decided anew at each start.

What is asked for and cannot be is refused, never passed over.  Whether a named profile is loaded is for the kernel to say, when
init asks for it; only the default is looked for here, because doing without it is allowed (`hawse info` says so).
"""

from __future__ import annotations

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.linux import apparmor

DEFAULT = "hawse-default"


def check(config: ContainerConfig) -> None:
    """Raises UserError for a profile where nothing would keep to it."""
    if config.apparmor not in ("", apparmor.UNCONFINED) and not apparmor.is_enabled():
        raise UserError(
            f"--security-opt apparmor={config.apparmor}: AppArmor is not enabled on this machine",
            hint="leave it out, or say apparmor=unconfined",
        )


def profile(config: ContainerConfig) -> str:
    """ "" where there is no AppArmor, "unconfined", or a name.  Raises UserError as `check`."""
    check(config)
    if not apparmor.is_enabled():
        return ""
    if config.apparmor:
        return config.apparmor
    return DEFAULT if not config.privileged and apparmor.is_loaded(DEFAULT) else apparmor.UNCONFINED
