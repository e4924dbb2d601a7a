"""A Debian machine with hawse installed and its units running; the tests of a session share it, and leave it as it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from tests.vm import wheels
from tests.vm.image import image
from tests.vm.install import install
from tests.vm.machine import Machine

CLEAN = "hawse ps -aq | xargs -r hawse rm -f -v; hawse network prune -f; hawse volume prune -f -a"


@pytest.fixture(scope="session")
def booted(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    suite = pytestconfig.getoption("--suite")
    with Machine(image(suite), tmp_path_factory.mktemp("vm") / suite) as made:
        wheels.put(suite, made.share / "wheels")
        install(made)
        shutil.copy(busybox_tar(), made.share / "busybox.tar")
        made.run("hawse image import /share/busybox.tar busybox")
        yield made


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """Afterwards no container is left and the audit is clean."""
    yield booted
    booted.run(CLEAN)
    booted.run("hawse audit")
