"""Processes by pidfd: one that is just being reaped is gone, in the words of each kernel."""

from __future__ import annotations

import errno
import os

import pytest

from hawse.supervisor.linux import process


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL], ids=["6.15 and later", "before"])
def test_who_is_being_reaped_is_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The pid is known still, but leads no process any more: Debian's 6.12 said EINVAL, in a stop that was quick."""

    def refuse(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert process.pin(os.getpid()) is None
    me = process.identity(os.getpid())
    assert me is not None and process.open_pidfd(me) is None


def test_that_there_are_no_descriptors_is_not_that_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        process.pin(os.getpid())
