"""Which tests run: unit always; netns and system only with --privileged, and then a missing capability is a failure.

Tests are marked by their directory (tests/netns, tests/system), so nobody can forget the marker.  Those of tests/machine
boot virtual machines: they run with --machines.
"""

from __future__ import annotations

import os
import shutil
import signal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hawse.cli.selftest.waiting import PATIENCE, USUAL_PATIENCE

PRIVILEGED = ("netns", "system")
TESTS = Path(__file__).parent

pytest.register_assert_rewrite("tests.unit.api.engine_contract")  # which two tiers have tests from


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--privileged",
        action="store_true",
        help="also run the netns and system tests; they need root and fail where something is missing",
    )
    parser.addoption(
        "--machines",
        choices=("none", "quick", "whole"),
        default="none",
        help="run the tests of tests/machine in virtual machines: those marked quick, or all",
    )
    parser.addoption("--suite", default="trixie", help="the Debian release of those machines")


def pytest_configure() -> None:
    """A shell starts what it runs in the background with these ignored, and programs under test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


# A busy machine makes no example wrong.  (Where CI is set, hypothesis has a profile of its own: the same examples each time.)
if "CI" not in os.environ:
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            kind = item.path.relative_to(TESTS).parts[0]
            if kind in PRIVILEGED or kind == "machine":
                item.add_marker(kind)
        if (limit := item.get_closest_marker("timeout")) and PATIENCE > USUAL_PATIENCE:
            item.add_marker(pytest.mark.timeout(limit.args[0] * PATIENCE / USUAL_PATIENCE), append=False)
        if "debian" in getattr(item, "fixturenames", ()):  # the first of them may have to make it, from a mirror
            item.add_marker(pytest.mark.timeout(1800), append=False)
    dropped = [item for item in items if not _wanted(item, config)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def _wanted(item: pytest.Item, config: pytest.Config) -> bool:
    if item.get_closest_marker("machine"):
        machines = config.getoption("--machines")
        return machines == "whole" or (machines == "quick" and item.get_closest_marker("quick") is not None)
    return bool(config.getoption("--privileged")) or not any(item.get_closest_marker(m) for m in PRIVILEGED)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if any(item.get_closest_marker(m) for m in PRIVILEGED) and (lacking := _lacking()):
        pytest.fail(f"--privileged was given, but this machine lacks {', '.join(lacking)}", pytrace=False)


@cache
def _lacking() -> tuple[str, ...]:
    """What the privileged tests need and this machine does not have."""
    lacking = [] if os.geteuid() == 0 else ["root"]
    effective = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    for name, bit in (("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_MKNOD", 27)):
        if not effective >> bit & 1:
            lacking.append(name)
    lacking += [f"the program {p}" for p in ("ip", "nft", "unshare", "nsenter", "busybox") if not shutil.which(p)]
    return tuple(lacking)
