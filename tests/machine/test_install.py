"""README.md's lines on a machine of one's own: the tour, and installing again, upgrading, taking away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.supervisor.core.version import VERSION
from tests.lab.wheel import build
from tests.vm.install import OFFLINE, install
from tests.vm.machine import Machine
from tests.vm.readme import UNINSTALL, UPGRADE, blocks

pytestmark = pytest.mark.timeout(900)

NEWER = "99.0"
RUNNING = "hawse inspect -f '{{.State.StartedAt}} {{.State.Pid}} {{.State.Status}}' app"


@pytest.fixture
def app(machine: Machine) -> Machine:
    machine.run("hawse run -d --name app busybox sleep 600")
    return machine


@pytest.fixture
def newer(machine: Machine, tmp_path: Path) -> Iterator[str]:
    """The package index has a newer hawse; afterwards this one is installed again."""
    scratch = tmp_path / "tree"
    scratch.mkdir()
    wheel = build(scratch, machine.share / "wheels", NEWER)
    yield NEWER
    wheel.unlink()
    machine.run(f"{OFFLINE}/opt/hawse/bin/pip install --quiet hawse=={VERSION}; hawse system install --now")


def test_the_tour_as_typed(machine: Machine) -> None:
    """Every line of it ends with exit code 0, at a terminal."""
    shutil.copy(Path(__file__).with_name("typist.py"), machine.share)
    (machine.share / "tour").write_text("".join(blocks("Five minutes")))
    try:
        told = machine.run("cd $(mktemp -d) && python3 /share/typist.py </share/tour", timeout=600).out
    finally:  # the image has another's name
        machine.run("hawse rmi -f busybox; hawse image import /share/busybox.tar busybox")
    assert told.count("hello") >= 3, "twice from curl"


def test_what_is_installed(machine: Machine) -> None:
    """Each where the program that it is for looks for it."""
    assert machine.run("readlink /usr/local/bin/hawse").out == "/opt/hawse/bin/hawse\n"
    assert machine.run("systemctl is-enabled hawse.socket hawse.service").out == "enabled\nenabled\n"
    assert machine.run("systemctl show -P FragmentPath hawse").out == "/usr/local/lib/systemd/system/hawse.service\n"
    assert "/opt/hawse/bin/hawse daemon" in machine.run("systemctl show -P ExecStart hawse").out
    machine.run("systemd-analyze verify hawse.service hawse.socket")
    machine.run("test -f /etc/hawse/hawse.toml && test -d /etc/hawse/hooks.d")
    assert machine.run("stat -c '%U %G %a' /run/hawse/hawse.sock").out == "root hawse 660\n"


def test_another_install_changes_nothing(app: Machine) -> None:
    before = app.run(f"systemctl show -P MainPID hawse; {RUNNING}").out
    assert app.run("hawse system install").out == "everything was in place\n"
    assert app.run(f"systemctl show -P MainPID hawse; {RUNNING}").out == before
    assert app.run("hawse system install --now").out == "restarted the daemon; containers ran on\n"
    assert app.run(RUNNING).out == before.partition("\n")[2]


def test_the_group_may_use_the_socket(machine: Machine) -> None:
    """With it somebody is as good as root; without it nobody gets in."""
    somebody = "setpriv --reuid=nobody --regid=nogroup --inh-caps=-all"
    assert machine.run(f"{somebody} --groups=$(getent group hawse | cut -d: -f3) hawse ps -q").out == ""
    refused = machine.run(f"{somebody} --clear-groups hawse ps -q", check=False)
    assert refused.code == 1 and "ermission denied" in refused.out


def test_an_upgrade(app: Machine, newer: str) -> None:
    """The daemon is the new one, the container is the one from before."""
    before = app.run(RUNNING).out
    app.run(OFFLINE + blocks("Install")[UPGRADE])
    assert app.run("hawse version -f '{{.Client.Version}} {{.Server.Version}}'").out == f"{newer} {newer}\n"
    assert app.run(RUNNING).out == before


def test_an_upgrade_that_was_not_told_the_daemon(app: Machine, newer: str) -> None:
    app.run(f"{OFFLINE}/opt/hawse/bin/pip install --quiet --upgrade hawse")
    told = app.run("hawse system install").out
    assert "wrote /usr/local/share/man/man1/hawse.1" in told, "it has the version"
    assert "systemctl restart hawse.service" in told
    assert app.run("hawse version -f '{{.Server.Version}}'").out == f"{VERSION}\n"


def test_taken_away_and_installed_again(app: Machine) -> None:
    """The container runs on, what the administrator wrote stays, and nothing else does."""
    before = app.run(RUNNING).out
    app.run("echo '# mine' >>/etc/hawse/hawse.toml")
    try:
        away, remove = blocks("Install")[UNINSTALL].splitlines()
        told = app.run(away).out
        assert "1 container runs on without a daemon" in told
        assert "kept /etc/hawse/hawse.toml, which you changed" in told
        assert "kept the group hawse, which /etc/hawse/hawse.toml names" in told
        app.run(remove)
        assert app.run("systemctl list-unit-files 'hawse*' --no-legend; ls -A /etc/hawse").out == "hawse.toml\n"
        assert app.run("find /usr/local /etc -path '*hawse*' -not -path '/etc/hawse*' -not -name 'hawse*-'").out == ""
        app.run(f"test -d /proc/{before.split()[-2]}")
    finally:
        install(app)
    assert app.run(RUNNING).out == before
    app.run("grep -q '^# mine' /etc/hawse/hawse.toml && sed -i '/^# mine/d' /etc/hawse/hawse.toml")
    assert app.run("hawse system install").out == "everything was in place\n"


def test_what_is_in_the_way_is_named_and_nothing_is_changed(machine: Machine) -> None:
    unit = "/usr/local/lib/systemd/system/hawse.service"
    machine.run(f"hawse system install --uninstall && mkdir -p {unit} && HAWSE_AUTOSTART=1 /opt/hawse/bin/hawse ps")
    try:
        refused = machine.run("/opt/hawse/bin/hawse system install --now", check=False)
        assert refused.code == 1
        assert f"{unit} is there already, and not by `hawse system install`" in refused.out
        assert "a daemon runs" in refused.out and "hawse system shutdown" in refused.out
        machine.run("! test -e /usr/local/bin/hawse")
    finally:
        machine.run(f"/opt/hawse/bin/hawse system shutdown; rmdir {unit}; /opt/hawse/bin/hawse system install --now")
