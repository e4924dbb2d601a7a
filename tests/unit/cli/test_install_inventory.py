"""What is put in place: units that start this hawse, a configuration that names every key, a man page that groff can read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from hawse.cli.install.group import GROUP
from hawse.cli.install.inventory import CONFIG, LINK, NETWORKD, PROFILE, UDEV_RULES, UNIT_DIRECTORY, inventory
from hawse.cli.install.manual import escape, manual
from hawse.cli.install.program import program, program_problems
from hawse.supervisor.linux.rtnetlink import DEVICE_GROUP
from hawse.supervisor.process.config import Config, load

PROGRAM = "/srv/hawse/bin/hawse"


def contents(program: str = PROGRAM, *, systemd: bool = True, apparmor: bool = True) -> dict[str, str]:
    return {item.path: item.content.decode() for item in inventory(program, systemd=systemd, apparmor=apparmor)}


def test_the_units_start_this_hawse() -> None:
    unit = contents()[f"{UNIT_DIRECTORY}/hawse.service"]
    assert re.findall("^ExecStart=(.*)$", unit, re.MULTILINE) == [f"{PROGRAM} daemon"]


def test_the_group_is_the_same_everywhere() -> None:
    found = contents()
    assert f"SocketGroup={GROUP}\n" in found[f"{UNIT_DIRECTORY}/hawse.socket"]
    assert tomllib.loads(found[CONFIG]) == {"group": GROUP}


def test_the_profile_is_that_of_its_file_where_there_is_apparmor() -> None:
    assert f"\nprofile {PROFILE.rpartition('/')[2]} " in contents()[PROFILE]
    assert PROFILE not in contents(apparmor=False)


def test_without_systemd_there_are_no_units() -> None:
    assert not [path for path in contents(systemd=False) if "systemd" in path or "udev" in path]


def test_udev_knows_our_devices_by_the_group_that_they_are_made_with() -> None:
    found = contents()
    assert f'ATTR{{netdev_group}}=="{DEVICE_GROUP}", ENV{{ID_NET_MANAGED_BY}}="hawse"' in found[UDEV_RULES]
    assert "Property=ID_NET_MANAGED_BY=hawse\n" in found[NETWORKD]


def test_a_program_in_the_path_needs_no_link() -> None:
    assert LINK in contents()
    assert LINK not in contents(program="/usr/local/bin/hawse")


def test_the_configuration_names_every_key_with_its_default(tmp_path: Path) -> None:
    """What is commented out is switched on, and nothing changes by it."""
    path = tmp_path / "hawse.toml"
    path.write_text(re.sub("^# (?=[a-z_]+ = )", "", contents()[CONFIG], flags=re.MULTILINE))
    assert tomllib.loads(path.read_text()).keys() == {field.name for field in fields(Config)}
    expected = Config(host=Path("/run/hawse/hawse.sock"), group=GROUP)
    assert load({}, {"HAWSE_CONFIG": str(path)}) == expected


def test_the_program_is_the_one_that_pip_installed() -> None:
    assert os.access(program(), os.X_OK)
    assert Path(program()).is_absolute()


def test_a_program_that_does_not_run_is_refused(tmp_path: Path) -> None:
    gone = tmp_path / "hawse"
    assert any("No such file" in problem for problem in program_problems(str(gone)))
    gone.write_text("#!/nowhere/python\n")
    gone.chmod(0o755)
    assert any("does not run" in problem for problem in program_problems(str(gone)))
    gone.write_text("#!/bin/sh\necho hawse version 99\n")
    assert any("does not run (hawse version 99)" in problem for problem in program_problems(str(gone)))


def test_a_program_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """The unit runs it as root."""
    theirs = tmp_path / "hawse"
    theirs.write_text("")
    theirs.chmod(0o757)
    assert any("writable by everybody" in p or "not owned by root" in p for p in program_problems(str(theirs)))


def test_a_path_that_a_unit_would_read_differently_is_refused() -> None:
    assert any("plainly" in problem for problem in program_problems("/srv/my hawse/100%/hawse"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\\b", "a\\(rsb"),
        (".TH", "\\&.TH"),
        ("'x", "\\&'x"),
        ("--rm", "\\-\\-rm"),
        ("…", "\\[u2026]"),
        ("two\n  lines", "two lines"),
    ],
)
def test_text_means_itself(text: str, line: str) -> None:
    assert escape(text) == line


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_man_page_has_no_warnings(tmp_path: Path) -> None:
    page = tmp_path / "hawse.1"
    page.write_text(manual())
    shown = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", page], capture_output=True, text=True, check=True
    )
    assert not shown.stderr
    assert "hawse system install [OPTIONS]" in shown.stdout
