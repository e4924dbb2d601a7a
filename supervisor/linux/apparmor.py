"""AppArmor as a process meets it: whether it is there, what is loaded, and under which profile a program will run.

Stdlib only: the child side imports it.  A profile takes hold at exec ("exec", aa_change_onexec(2)), or at once for who
goes on without one ("changeprofile", aa_change_profile(2)).  Both are writes to files of /proc/self, which the kernel takes
only from the very process: the host's /proc must be in reach, for what a container has there may be anything.
"""

from __future__ import annotations

import os

UNCONFINED = "unconfined"
_ENABLED = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
_ATTRIBUTES = ("/proc/self/attr/apparmor", "/proc/self/attr")
"""The first since Linux 5.8; the second is that of whichever security module came first."""


def is_enabled() -> bool:
    """The kernel has the module, and it was not turned off at boot."""
    try:
        with open(_ENABLED) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def is_loaded(profile: str) -> bool:
    """Tell whether the kernel knows it, in whatever mode.  False as well where securityfs is not mounted."""
    try:
        with open(_PROFILES) as file:
            return any(line.rpartition(" (")[0] == profile for line in file)
    except OSError:
        return False


def confine_exec(profile: str) -> None:
    """The next program that this process executes runs under `profile`; children that it forks before inherit that.

    Raises OSError, ENOENT when the profile is not loaded.
    """
    path = _attribute("exec")
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, f"exec {profile}".encode())
    except OSError as e:
        e.filename = path
        raise
    finally:
        os.close(fd)


def open_current() -> int:
    """A descriptor for `confine`, for when the host's /proc is out of reach.  Nobody but this process can use it."""
    return os.open(_attribute("current"), os.O_WRONLY | os.O_CLOEXEC)


def confine(current: int, profile: str) -> None:
    """This process runs under `profile` from now on.  Raises OSError."""
    os.write(current, f"changeprofile {profile}".encode())


def _attribute(name: str) -> str:
    return next((path for at in _ATTRIBUTES if os.path.exists(path := f"{at}/{name}")), f"{_ATTRIBUTES[1]}/{name}")
