"""Which AppArmor profile a container gets, and what is refused, on machines with and without AppArmor."""

from __future__ import annotations

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.lifecycle import confining
from hawse.supervisor.linux import apparmor


@pytest.mark.parametrize(
    ("loaded", "config", "profile"),
    [
        (True, ContainerConfig(), "hawse-default"),
        (False, ContainerConfig(), "unconfined"),
        (True, ContainerConfig(privileged=True), "unconfined"),
        (True, ContainerConfig(privileged=True, apparmor="mine"), "mine"),
        (True, ContainerConfig(apparmor="unconfined"), "unconfined"),
        (False, ContainerConfig(apparmor="mine"), "mine"),  # whether that is loaded the kernel says
    ],
)
def test_the_profile(monkeypatch: pytest.MonkeyPatch, loaded: bool, config: ContainerConfig, profile: str) -> None:
    monkeypatch.setattr(apparmor, "is_enabled", lambda: True)
    monkeypatch.setattr(apparmor, "is_loaded", lambda _: loaded)
    assert confining.profile(config) == profile


def test_without_apparmor_a_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apparmor, "is_enabled", lambda: False)
    for name in ("", "unconfined"):
        assert confining.profile(ContainerConfig(apparmor=name)) == ""
    with pytest.raises(UserError, match="apparmor=mine: AppArmor is not enabled on this machine") as refused:
        confining.profile(ContainerConfig(apparmor="mine"))
    assert "unconfined" in refused.value.hint


def test_loaded_profiles_are_the_kernel_s_list(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "profiles").write_text("/usr/bin/man (enforce)\nhawse-default (complain)\nhawse (x) y (enforce)\n")
    monkeypatch.setattr(apparmor, "_PROFILES", str(tmp_path / "profiles"))
    assert apparmor.is_loaded("hawse-default") and apparmor.is_loaded("hawse (x) y")
    assert not apparmor.is_loaded("hawse")
    monkeypatch.setattr(apparmor, "_PROFILES", str(tmp_path / "none"))
    assert not apparmor.is_loaded("hawse-default")
