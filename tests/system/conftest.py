"""A real daemon in a lab for every system test, and the leak check after it.

One lab serves a module until a test fails; then it is thrown away, so that one failure does not cause others.  A test
cleans up after itself: afterwards everything must be as it was when the lab was fresh.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import Lab
from hawse.cli.selftest.snapshot import Snapshot
from hawse.supervisor.images.registry.endpoints import Access
from tests.lab.registries import PLAIN, PROXY, SIZES, TOKENS, Pushed, Registries, push
from tests.lab.roots import debian_root

FAILED = pytest.StashKey[bool]()


class Keeper:
    """The module's lab, made when first needed."""

    def __init__(self) -> None:
        self._lab: Lab | None = None
        self._fresh: Snapshot | None = None

    def take(self) -> tuple[Lab, Snapshot]:
        if self._lab is None or self._fresh is None:
            self._lab = Lab()
            self._lab.daemon.start()
            self._lab.hawse("image", "import", busybox_tar(), "busybox")
            self._lab.hawse("run", "--rm", "-p", "18080:80", "busybox", "true")  # makes the default network
            self._fresh = self._lab.settled()
        return self._lab, self._fresh

    def discard(self) -> None:
        lab, self._lab, self._fresh = self._lab, None, None
        if lab is not None:
            lab.close()


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    kept = Keeper()
    yield kept
    kept.discard()


@pytest.fixture
def lab(keeper: Keeper, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab with a daemon, the image busybox and the network bridge; checked for leaks when the test has passed."""
    try:
        world, fresh = keeper.take()
    except BaseException:
        keeper.discard()
        raise
    yield world
    if request.node.stash.get(FAILED, False):
        keeper.discard()
        return
    if leaks := world.leaks(fresh):
        log = world.daemon.log[-3000:]
        keeper.discard()
        pytest.fail(
            "left behind (+) or lost (-):\n  " + "\n  ".join(leaks) + f"\n--- daemon's log\n{log}", pytrace=False
        )


@pytest.fixture
def bare_lab() -> Iterator[Lab]:
    """A lab without a daemon."""
    with Lab() as world:
        yield world


@pytest.fixture(scope="module")
def registries_of_module() -> Iterator[Registries]:
    with Lab() as world:
        yield Registries(world)


@pytest.fixture
def registries(registries_of_module: Registries) -> Registries:
    """Registries in a lab without a daemon; they have forgotten what was asked before."""
    registries_of_module.log(PROXY)
    registries_of_module.log(TOKENS)
    return registries_of_module


@pytest.fixture(scope="module")
def image(registries_of_module: Registries) -> Pushed:
    """An image that is in the plain registry as t/image:1."""
    made = Pushed(registries_of_module.directory / "image", SIZES)
    registries_of_module.call(lambda: push(made, f"{PLAIN}/t/image:1", Access()))
    return made


@pytest.fixture(scope="session")
def debian() -> Path:
    """A Debian root with nginx, redis and PostgreSQL in it, for --rootfs."""
    return debian_root()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
        world = getattr(item, "funcargs", {}).get("lab")
        if report.failed and world is not None:
            report.sections.append(("daemon's log", world.daemon.log[-6000:]))
    return report
