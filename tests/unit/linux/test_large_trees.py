"""Directories as large, deep and shifty as a program can make them, gone through at a small and steady cost."""

from __future__ import annotations

import os
import signal
import tracemalloc
from pathlib import Path

import pytest

from hawse.supervisor.lifecycle import filling
from hawse.supervisor.linux.diskusage import apparent_size
from hawse.supervisor.linux.syscalls import AT_FDCWD, libc
from hawse.supervisor.linux.tree import remove_tree

MANY = 10_000
RENAME_EXCHANGE = 2  # renameat2(2)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    place = tmp_path / "crowded"
    (place / "sub").mkdir(parents=True)
    for number in range(MANY):
        (place / "sub" / str(number)).touch()
    return place


def peak(work: object) -> int:
    assert callable(work)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_removing_keeps_nothing_of_the_files(crowded: Path) -> None:
    """A million files in one directory cost the daemon hundreds of megabytes when their container was removed."""
    assert peak(lambda: remove_tree(crowded)) < 300_000
    assert not crowded.exists()


def test_whether_a_volume_is_empty_takes_one_look(crowded: Path) -> None:
    assert peak(lambda: filling._is_empty(crowded / "sub")) < 50_000
    assert not filling._is_empty(crowded)


def test_usage_of_a_tree_deeper_than_a_path_is_long(tmp_path: Path) -> None:
    """It ended `ps -s` and `system df` with an error."""
    (tmp_path / "file").write_bytes(b"12345")
    here = os.open(tmp_path, os.O_PATH)
    for _ in range(30):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert apparent_size(tmp_path) == 5
    remove_tree(tmp_path / ("d" * 250))


def test_usage_is_never_led_outside(tmp_path: Path) -> None:
    """By a program that puts a symlink in a directory's place between the look at it and the way into it."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x" * 1000)
    (inside / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(outside)
    names = os.fsencode(inside / "a"), os.fsencode(tmp_path / "link")
    swapper = os.fork()
    while swapper == 0:
        libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    try:
        assert {apparent_size(inside) for _ in range(20_000)} == {0}
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
