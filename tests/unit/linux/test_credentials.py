"""--user against passwd and group, as docker resolves it; whatever the text, nobody becomes root by accident."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.supervisor.linux import capabilities
from hawse.supervisor.linux.credentials import MAX_ID, Identity, UnknownUser, read_database, resolve

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
# comment:x:7:7::/:
1234:x:55:56::/odd:
broken line
short:x:notanumber:1::/:
nohome:x:60:60
"""
GROUP = """\
root:x:0:
app:x:1001:
staff:x:50:app,other
audio:x:63:other,app
wheel:x:10:root
"""


def who(user: str, *extra: str) -> Identity:
    return resolve(user, extra, PASSWD, GROUP)


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (0, 10), "/root"),
        ("root", 0, 0, (0, 10), "/root"),
        ("app", 1000, 1001, (1001, 50, 63), "/home/app"),
        ("1000", 1000, 1001, (1001, 50, 63), "/home/app"),
        ("app:staff", 1000, 50, (50,), "/home/app"),
        ("app:77", 1000, 77, (77,), "/home/app"),
        ("app:", 1000, 1001, (1001, 50, 63), "/home/app"),
        (":staff", 0, 50, (50,), "/root"),
        ("4242", 4242, 0, (0,), "/"),
        ("4242:4343", 4242, 4343, (4343,), "/"),
        ("1234", 55, 56, (56,), "/odd"),  # a name that looks like a number wins, as an entry before it would
        ("nohome", 60, 60, (60,), "/"),
    ],
)
def test_users(user: str, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
    assert who(user) == Identity(uid=uid, gid=gid, groups=groups, home=home)


def test_added_groups() -> None:
    assert who("app:staff", "audio", "99").groups == (50, 63, 99)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("nope", "unable to find user nope: no matching entries in passwd file"),
        ("short", "unable to find user short: no matching entries in passwd file"),
        ("app:nope", "unable to find group nope: no matching entries in group file"),
        ("-1", "unable to find user -1: no matching entries in passwd file"),
        ("٣", "unable to find user ٣: no matching entries in passwd file"),
        (str(MAX_ID + 1), "uids and gids must be in range 0-2147483647"),
        (f"0:{MAX_ID + 1}", "uids and gids must be in range 0-2147483647"),
        ("9" * 25, "unable to find user"),
    ],
)
def test_users_that_are_not(user: str, text: str) -> None:
    with pytest.raises(UnknownUser, match=text):
        who(user)


def test_without_databases() -> None:
    assert resolve("", (), "", "") == Identity(uid=0, gid=0, groups=(0,), home="/")


@settings(deadline=None)
@given(st.text(max_size=12), st.text(max_size=60), st.text(max_size=60))
def test_never_root_by_accident(user: str, passwd: str, group: str) -> None:
    """CVE-2026-30892: whatever the text is, uid 0 comes only of asking for it, or of an entry that says so."""
    try:
        found = resolve(user, (), passwd, group)
    except UnknownUser:
        return
    name = user.partition(":")[0]
    asked = name == "" or (name.isdigit() and int(name) == 0) or ":0:" in passwd or ":00" in passwd
    assert found.uid != 0 or asked
    assert 0 <= found.uid <= MAX_ID
    assert 0 <= found.gid <= MAX_ID


def test_a_database_must_be_a_plain_file(tmp_path: Path) -> None:
    assert read_database(str(tmp_path / "none")) == ""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="plain file"):
            read_database(str(path))
    with open(tmp_path / "huge", "wb") as f:
        f.truncate(17 << 20)
    with pytest.raises(OSError, match="plain file"):
        read_database(str(tmp_path / "huge"))
    (tmp_path / "good").write_bytes(b"r\xff:x:0:0")
    assert read_database(str(tmp_path / "good")) == "r\udcff:x:0:0"


def test_a_database_of_nothing_but_lines_takes_no_memory() -> None:
    """It is read in the container's own memory, of which there may be little."""
    text = "\n" * (1 << 20) + "late:x:5:6::/:\n"
    tracemalloc.start()
    try:
        assert resolve("late", (), text, text).uid == 5
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("separator", ["\v", "\f", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_newline_ends_an_entry(separator: str) -> None:
    """Who may choose what is in his own entry's comment must not write another."""
    with pytest.raises(UnknownUser):
        resolve("toor", (), f"ann:x:5:5:Ann{separator}toor:x:0:0::/:\n", "")


def test_capability_masks() -> None:
    assert capabilities.mask(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"]) == 1 | 1 << 40
    with pytest.raises(ValueError, match="CAP_NONSENSE"):
        capabilities.mask(["CAP_NONSENSE"])
