"""The storm that users can run, too, for a minute: `hawse selftest chaos`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 60


@pytest.mark.slow("a storm of a minute among programs that take eight times as long is hardly one")
@pytest.mark.timeout(600)
def test_a_storm_leaves_nothing() -> None:
    command = [str(Path(sys.executable).with_name("hawse")), "selftest", "chaos", f"--seconds={SECONDS}", "--log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-20_000:] + done.stdout
    for victim in ("daemon", "shim", "program"):
        assert f" {victim} " in done.stdout.partition("Killed:")[2].partition("Damaged:")[0]
