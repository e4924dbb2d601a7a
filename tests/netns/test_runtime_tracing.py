"""What enters a container can be traced by root inside at most when it has no more rights than the container.

CVE-2016-9962's kind.  Without a user namespace, and with CAP_SYS_PTRACE, root inside is not held off by a process that is
not dumpable: what such a container can see at all must have dropped its rights.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hawse.supervisor.core.capabilities import DEFAULT_CAPABILITIES
from hawse.supervisor.linux import capabilities
from tests.netns.boxes import UID_BASE, Boxes, eventually

EXECS = 24
CAPS = [*DEFAULT_CAPABILITIES, "CAP_SYS_PTRACE"]
# Whoever can be looked into: what it may do, and where it is.
SPY = (
    "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do "
    "read -r name < $p/comm && [ $name = hawse-exec ] && root=$(readlink $p/root) && "
    'echo "seen,$(grep CapPrm $p/status),$root,$(readlink $p/ns/mnt)"; done 2>/dev/null; done; echo over'
)


@pytest.fixture
async def boxes(tmp_path: Path) -> AsyncIterator[Boxes]:
    async with Boxes(tmp_path) as made:
        yield made


@pytest.mark.parametrize("nnp", [True, False], ids=["no-new-privileges", "new-privileges"])
@pytest.mark.parametrize("uid_base", [UID_BASE, None], ids=["userns", "host"])
async def test_an_exec_that_can_be_traced_has_no_more_rights_than_the_container(
    boxes: Boxes, uid_base: int | None, nnp: bool
) -> None:
    box = await boxes.start(
        boxes.spec("sh", "-c", f"readlink /proc/1/ns/mnt; {SPY}", uid_base=uid_base, caps=CAPS, no_new_privileges=nnp)
    )
    await eventually(lambda: bool(box.said()))
    for _ in range(EXECS):
        assert (await box.exec("sh", "-c", "echo in"))[:2] == (0, "in\n")
    assert (await box.exec("touch", "/stop"))[0] == 0
    await box.wait_said("over")
    mine, *seen = box.said().splitlines()[:-1]
    allowed = capabilities.mask(CAPS)
    for line in seen:
        _, held, root, mount_namespace = line.split(",")
        assert int(held.partition(":")[2] or "0", 16) & ~allowed == 0, f"{held} could be traced"
        assert (root, mount_namespace or mine) == ("/", mine)
