"""The shell lines of README.md, so that what is tried is what people read."""

from __future__ import annotations

import re

from tests.lab.wheel import REPOSITORY


def blocks(heading: str) -> list[str]:
    """The ```sh blocks below `## heading`, in order.  Raises AssertionError where README has none."""
    text = (REPOSITORY / "README.md").read_text()
    _, found, section = text.partition(f"\n## {heading}\n")
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert found and lines, f"README.md has no shell lines under {heading!r}"
    return lines


INSTALL, UPGRADE, UNINSTALL = range(3)
"""Which block is which under "Install"."""
