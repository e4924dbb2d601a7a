"""hawse in a machine, installed by the lines that README.md gives."""

from __future__ import annotations

import shutil

from tests.lab.wheel import REPOSITORY
from tests.vm.machine import Machine

LINES = """\
python3 -m venv /opt/hawse
/opt/hawse/bin/pip install --quiet hawse
ln -s /opt/hawse/bin/hawse /usr/local/bin/hawse
"""
UNITS = """\
sed 's#/usr/bin/hawse#/usr/local/bin/hawse#' -i /share/packaging/*.service
cp /share/packaging/*.service /share/packaging/*.socket /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now hawse.socket hawse.service
"""


def install(machine: Machine) -> None:
    """From /share/wheels, which takes the place of the package index; the units run afterwards."""
    shutil.copytree(REPOSITORY / "packaging", machine.share / "packaging")
    offline = (
        "set -e; export PIP_NO_INDEX=1 PIP_FIND_LINKS=/share/wheels PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore\n"
    )
    machine.run(offline + LINES + UNITS)
