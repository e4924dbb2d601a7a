"""hawse in a machine, installed by the lines that README.md gives."""

from __future__ import annotations

from tests.vm.machine import Machine
from tests.vm.readme import INSTALL, blocks

OFFLINE = "set -e; export PIP_NO_INDEX=1 PIP_FIND_LINKS=/share/wheels PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore\n"
"""/share/wheels takes the place of the package index."""


def install(machine: Machine) -> None:
    """From /share/wheels; the units run afterwards."""
    machine.run(OFFLINE + blocks("Install")[INSTALL])
