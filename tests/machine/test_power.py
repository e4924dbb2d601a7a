"""The power goes, or somebody reboots: what was answered is so, nothing is half there, policies bring back what they say."""

from __future__ import annotations

import pytest

from tests.vm.machine import Machine
from tests.vm.power import cuts
from tests.vm.power.reboot import Comeback

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_power_cut(machine: Machine, seed: int) -> None:
    """`script/vm cuts` does the same many times."""
    verdict = cuts.cut(machine, seed)
    cuts.clean(machine)
    assert verdict.answers and not verdict.lost and not verdict.broken, str(verdict)


def test_an_image_that_was_answered_is_whole(machine: Machine) -> None:
    """Its row is flushed with the answer; its files would have been written half a minute later, and were empty."""
    machine.run(
        "dd if=/dev/urandom of=/share/noise bs=1M count=8 status=none; tar -C /share -cf /share/noise.tar noise"
    )
    machine.run("hawse image import /share/noise.tar noise")
    machine.power_cut()
    machine.power_on()
    found = machine.run("cmp /share/noise /var/lib/hawse/layers/*/noise && hawse images -q noise", check=False)
    machine.run("hawse rmi noise; rm /share/noise /share/noise.tar")
    assert found.code == 0, str(found)


def test_who_comes_back_after_a_reboot(machine: Machine) -> None:
    back = Comeback.of(machine, 12)
    assert back.running == {
        "always": (2, 2),
        "always, stopped": (1, 1),
        "no": (0, 2),
        "no, stopped": (0, 1),
        "on-failure": (0, 2),
        "on-failure, stopped": (0, 1),
        "unless-stopped": (2, 2),
        "unless-stopped, stopped": (0, 1),
    }, str(back)
    assert not back.silent
