"""Log drivers that this machine cannot have."""

from __future__ import annotations

import os

import pytest

from hawse.cli.selftest.lab import Lab
from hawse.supervisor.linux import journald


@pytest.mark.skipif(os.path.exists(journald.PATH), reason="this machine has a journald")
def test_without_journald_its_driver_is_refused(lab: Lab) -> None:
    refused = lab.hawse("run", "--log-driver", "journald", "busybox", "true", check=False)
    assert refused.code == 125
    assert "failed to initialize logging driver: journald is not enabled on this host" in refused.err
    assert lab.hawse("ps", "-aq").out == ""
