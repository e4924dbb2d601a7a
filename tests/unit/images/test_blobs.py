"""The store of blobs: nothing has its name that is not whole, and nothing that came is lost to a cut."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.images.blobs import SPARED, Blobs, Partial

CONTENT = bytes(range(256)) * 10_000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path)
    made.make()
    return made


def feed(partial: Partial, content: bytes) -> None:
    """As a download does."""
    partial.progress.digest.update(content)
    partial.progress.offset += len(content)
    partial.write(content)


def names(blobs: Blobs) -> set[str]:
    top = blobs.directory.parent
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_a_blob_gets_its_name_when_it_is_whole(blobs: Blobs) -> None:
    with blobs.begin(DIGEST, len(CONTENT)) as partial:
        feed(partial, CONTENT)
        assert not blobs.has(DIGEST)
        assert partial.publish() == blobs.path(DIGEST)
    assert blobs.has(DIGEST) and blobs.path(DIGEST).read_bytes() == CONTENT
    assert names(blobs) == {f"sha256/{DIGEST[7:]}"}
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o600
    assert blobs.directory.parent.stat().st_mode & 0o777 == 0o700


def test_what_came_before_a_crash_is_gone_on_with(blobs: Blobs) -> None:
    """The state that SIGKILL leaves: nothing was closed, published or thrown away."""
    first = blobs.begin(DIGEST, len(CONTENT)).__enter__()
    feed(first, CONTENT[:1_500_000])
    assert names(blobs) == {f"partial/{DIGEST[7:]}"}
    with blobs.begin(DIGEST, len(CONTENT)) as second:
        assert second.progress.offset == 1_500_000
        feed(second, CONTENT[1_500_000:])
        second.publish()
    first.__exit__(None, None, None)
    assert blobs.path(DIGEST).read_bytes() == CONTENT


def test_what_is_longer_than_the_blob_begins_anew(blobs: Blobs) -> None:
    blobs.partial(DIGEST).write_bytes(CONTENT + b"x")
    with blobs.begin(DIGEST, len(CONTENT)) as partial:
        assert partial.progress.offset == 0
        feed(partial, CONTENT)
        partial.publish()


@pytest.mark.parametrize("content", [CONTENT[:-1], b"x" + CONTENT[1:], b""])
def test_another_content_never_gets_the_name(blobs: Blobs, content: bytes) -> None:
    with blobs.begin(DIGEST, len(CONTENT)) as partial:
        feed(partial, content)
        with pytest.raises(UserError, match=f"{DIGEST} was to be {len(CONTENT)} bytes, and what came is sha256:"):
            partial.publish()
    assert not names(blobs)


def test_a_week_is_spared_and_what_is_used(blobs: Blobs) -> None:
    now = 1_000_000_000.0
    ages = {"a": SPARED + 1, "b": SPARED - 1, "c": SPARED + 1}
    for name, age in ages.items():
        for path in (blobs.path(f"sha256:{name}"), blobs.partial(f"sha256:{name}")):
            path.touch()
            os.utime(path, (now - age, now - age))
    blobs.sweep({"sha256:c"}, now)
    assert names(blobs) == {"sha256/b", "partial/b", "sha256/c"}


def test_discarding_what_is_gone(blobs: Blobs) -> None:
    blobs.path(DIGEST).touch()
    for _ in range(2):
        blobs.discard(DIGEST)
    with blobs.begin(DIGEST, 1) as partial:
        for _ in range(2):
            partial.discard()
    assert not names(blobs)
