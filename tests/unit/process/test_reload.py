"""What SIGHUP does to the configuration: all of it is valid, or nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.process.reload import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hawse.toml"
    made.write_text('audit_interval = 7\nlog_level = "debug"\n')
    return made


@pytest.fixture
def settings(file: Path) -> Settings:
    return Settings.read({"log_level": "error"}, {"HAWSE_CONFIG": str(file), "HAWSE_JOURNAL_MAX_AGE": "100"})


def test_what_can_change_at_run_time_does(settings: Settings, file: Path) -> None:
    file.write_text('audit_interval = 9\naddress_pools = ["10.1.0.0/16"]\n')
    changed, needs_restart = settings.reread()
    assert changed == {"audit_interval": 9.0, "address_pools": ("10.1.0.0/16",)}
    assert not needs_restart
    assert settings.config.audit_interval == 9.0


def test_flags_and_environment_go_on_to_win(settings: Settings, file: Path) -> None:
    file.write_text('log_level = "info"\njournal_max_age = 5\n')
    settings.reread()
    assert (settings.config.log_level, settings.config.journal_max_age) == ("error", 100)


def test_what_needs_a_restart_is_told_and_stays(settings: Settings, file: Path) -> None:
    file.write_text('audit_interval = 9\nsubid_base = 5\nroot = "/elsewhere"\n')
    changed, needs_restart = settings.reread()
    assert list(changed) == ["audit_interval"]
    assert sorted(needs_restart) == ["root", "subid_base"]
    assert settings.config.root == Path("/var/lib/hawse")


def test_one_bad_value_holds_back_the_good_ones(settings: Settings, file: Path) -> None:
    before = settings.config
    file.write_text('audit_interval = 9\njournal_max_bytes = "much"\n')
    with pytest.raises(UserError, match="journal_max_bytes = 'much'"):
        settings.reread()
    assert settings.config == before
