"""The tests of the working tree, run inside a machine: in labs there, as on any host.

All of it lies on the machine's own disk, /share is slow: the tree in /srv/hawse, where hawse is installed in place with what
its tests need, and the root that some tests run in containers, which cannot be made where there is no mirror.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.roots import debian_root
from tests.lab.wheel import REPOSITORY
from tests.vm import wheels
from tests.vm.image import image
from tests.vm.machine import Machine

KINDS = ("unit", "netns", "system")
TREE = "/srv/hawse"
RESULTS = REPOSITORY / ".cache/machine-results"
PATIENCE = 300  # seconds, for the tests' deadlines: Python takes eight times as long in software emulation
TEST_TIMEOUT = 1800  # seconds for one test, in place of pyproject.toml's
WHOLE = 12 * 3600.0  # for all of them

SET_UP = f"""\
set -e
modprobe br_netfilter
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/share/wheels PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
mkdir -p {TREE} /var/cache/hawse-test-roots
tar -C {TREE} --no-same-owner -xf /share/tree.tar
tar -C /var/cache/hawse-test-roots --numeric-owner -xpf /share/roots.tar
if [ -e /share/docker ]; then install /share/docker /usr/local/bin/docker; fi
python3 -m venv {TREE}/.venv
{TREE}/.venv/bin/pip install --quiet 'setuptools>=77'
{TREE}/.venv/bin/pip install --quiet --no-build-isolation --editable '{TREE}[test]'
"""


def place(named: str) -> str:
    """What pytest is to be given for that argument of a command line.  Raises ArgumentTypeError."""
    if named in KINDS:
        return f"tests/{named}"
    if named.startswith(tuple(f"tests/{kind}/" for kind in KINDS)) and (REPOSITORY / named.partition("::")[0]).exists():
        return named
    raise argparse.ArgumentTypeError(f"{named!r} is neither one of {', '.join(KINDS)} nor a file in their directories")


def run_suite(suite: str, places: list[str], arguments: list[str], directory: Path) -> int:
    """pytest's exit code; its JUnit report is kept in RESULTS.  `directory` is for the machine, and is not there yet."""
    with Machine(image(suite), directory) as machine:
        sys.stderr.write("putting the tests into the machine …\n")
        fill(suite, machine.share)
        machine.run(SET_UP, timeout=1800)
        try:
            return machine.run(pytest(places, arguments), check=False, timeout=WHOLE, show=True).code
        finally:
            report = machine.share / "junit.xml"
            if report.exists():
                RESULTS.mkdir(parents=True, exist_ok=True)
                name = "-".join(Path(where).stem for where in places)
                sys.stderr.write(f"the report: {shutil.copy(report, RESULTS / f'{suite}-{name}.xml')}\n")


def fill(suite: str, share: Path) -> None:
    """Put there what SET_UP takes.  Raises CalledProcessError, and RuntimeError where the root cannot be made."""
    wheels.put(suite, share / "wheels", extra="test")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True).stdout.split(b"\0")
    present = b"\0".join(name for name in names if name and (REPOSITORY / name.decode()).exists())
    pack = ["tar", "-C", str(REPOSITORY), "--null", "-T", "-", "-cf", str(share / "tree.tar")]
    subprocess.run(pack, input=present, check=True)
    if client := shutil.which("docker"):  # one file, as script/setup has it
        shutil.copy(client, share / "docker")
    root = debian_root()
    subprocess.run(["tar", "-C", root.parent, "--numeric-owner", "-cf", share / "roots.tar", root.name], check=True)


def pytest(places: list[str], arguments: list[str]) -> str:
    """The script that runs them in the machine.  A later -m among `arguments` takes the place of the one here."""
    options = ["--privileged", "-v", "-m", "not slow", f"--timeout={TEST_TIMEOUT}", "--durations=25"]
    command = [".venv/bin/pytest", *options, "--junitxml=/share/junit.xml", *arguments, *places]
    return f"cd {TREE} && HAWSE_TEST_PATIENCE={PATIENCE} PYTHONUNBUFFERED=1 {shlex.join(command)}"
