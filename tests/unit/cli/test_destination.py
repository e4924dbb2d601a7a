"""Where cp, export -o and --cidfile write: to what the user named, through a link as typed, and over nothing that is special.

The expectations are those of docker 28, except that it replaces a FIFO or socket by a copied file, and that its export does
not follow links.  Device nodes need privileges: tests/system/test_cp_host.py has them.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.cli.errors import Failure
from hawse.cli.files.destination import resolve
from tests.unit.cli.archive import TREE, Inside
from tests.unit.cli.daemon import CliDaemon, Request

VERBS = {
    "cp file": ("cp", "web:/a", "{}"),
    "cp directory": ("cp", "web:/etc", "{}"),
    "export -o": ("export", "-o", "{}", "web"),
    "--cidfile": ("create", "--cidfile", "{}", "busybox"),
}
COPIED, COPY_REFUSED = "cannot copy directory", 'invalid output path: "{}" must be a directory or a regular file: got '
EXPORT_REFUSED, FOUND = "failed to export container: cannot write to ", "container ID file found"
STAT, NOT_CREATED = (
    "failed to export container: invalid output path: stat {}",
    "failed to create the container ID file: open {}: ",
)


class To(str):
    """The path that is written."""


MATRIX: dict[str, tuple[str, str, str, str]] = {
    "regular": (To("regular"), COPIED, To("regular"), FOUND),
    "to-regular": (To("real"), COPIED, To("real"), FOUND),
    "to-link": (To("real"), COPIED, To("real"), FOUND),
    "dangling": (To("gone"),) * 4,  # type: ignore[dict-item]
    "below/dangling": (To("new"),) * 4,  # type: ignore[dict-item]
    "new": (To("new"),) * 4,  # type: ignore[dict-item]
    "to-directory": (To("directory/a"), To("directory/etc"), EXPORT_REFUSED + "a directory", FOUND),
    "directory": (To("directory/a"), To("directory/etc"), EXPORT_REFUSED + "a directory", FOUND),
    "fifo": (COPY_REFUSED + "a named pipe",) * 2 + (EXPORT_REFUSED + "a named pipe (FIFO)", FOUND),
    "to-fifo": (COPY_REFUSED + "a named pipe",) * 2 + (EXPORT_REFUSED + "a named pipe (FIFO)", FOUND),
    "socket": (COPY_REFUSED + "a socket",) * 2 + (EXPORT_REFUSED + "a socket", FOUND),
    "loop": ("{}: Too many levels",) * 2 + (STAT + ": too many levels", NOT_CREATED + "too many levels"),
    "missing/x": ("missing", "missing", "missing: no such file", NOT_CREATED + "no such file"),
    "to-missing": ("missing", "missing", "missing: no such file", NOT_CREATED + "no such file"),
    "real/x": ("real: Not a directory",) * 2 + ("real: not a directory", NOT_CREATED + "not a directory"),
    "regular/": ("{}: Not a directory",) * 2 + (STAT + ": not a directory", NOT_CREATED + "not a directory"),
    "new/": ("no such directory", To("new"), EXPORT_REFUSED + "a directory", NOT_CREATED + "is a directory"),
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    (tmp_path / "run").mkdir()
    made = CliDaemon(tmp_path / "run")
    Inside(made)
    made.routes["GET /containers/web/export"] = lambda request: request.answer(TREE)
    made.routes["POST /containers/create"] = {"Id": "c0ffee", "Warnings": []}
    yield made
    made.close()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """One thing of every kind that needs no privileges."""
    host = tmp_path / "host"
    for directory in ("", "directory", "below"):
        (host / directory).mkdir()
    for name in ("real", "regular", "directory/kept"):
        (host / name).write_text("of the user")
    for link, goal in {
        "to-regular": "real", "to-link": "to-regular", "dangling": "gone", "to-directory": "directory", "to-fifo": "fifo",
        "loop": "loop", "to-missing": "missing/x", "below/dangling": "../new",
    }.items():  # fmt: skip
        (host / link).symlink_to(goal)
    os.mkfifo(host / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(host / "socket"))
    return host


def everything(directory: Path) -> dict[str, tuple[int, int, str]]:
    """path → (inode, kind and mode, content)"""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[str(path.relative_to(directory))] = (status.st_ino, status.st_mode, content)
    return found


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", MATRIX)
def test_what_is_written_to(daemon: CliDaemon, host: Path, kind: str, verb: str) -> None:
    before = everything(host)
    argv = [word.format(f"{host}/{kind}") for word in VERBS[verb]]
    said = daemon.run(*argv)
    expected = MATRIX[kind][list(VERBS).index(verb)]
    after = everything(host)
    if not isinstance(expected, To):
        assert said.code == (125 if verb == "--cidfile" else 1)
        assert expected.format(f"{host}/{kind}") in said.err
        assert after == before
        assert not daemon.requests("POST .*")  # no container whose id is nowhere
        return
    assert (said.code, said.err) == (0, "")
    written = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert written and all(path == expected or path.startswith(f"{expected}/") for path in written)
    assert stat.S_ISDIR(after[expected][1]) == (verb == "cp directory")
    assert "of the user" not in after[expected][2]


def test_an_export_that_breaks_off_leaves_the_file_as_it_was(daemon: CliDaemon, host: Path) -> None:
    def break_off(request: Request) -> None:
        request.begin()
        request.chunk(b"half")
        while everything(host) == before:
            time.sleep(0.01)
        request.sock.shutdown(socket.SHUT_RDWR)

    daemon.routes["GET /containers/web/export"] = break_off
    before = everything(host)
    said = daemon.run("export", "-o", f"{host}/to-regular", "web")
    assert said.code == 1 and "in the middle of an answer" in said.err
    assert everything(host) == before


def test_no_id_file_is_left_when_no_container_is_made(daemon: CliDaemon, host: Path) -> None:
    def refuse(request: Request) -> None:
        assert (host / "cid").exists()
        request.answer({"message": "no such image"}, 404)

    daemon.routes["POST /containers/create"] = refuse
    assert daemon.run("create", "--cidfile", f"{host}/cid", "busybox").code == 1
    assert not (host / "cid").exists()


@pytest.mark.parametrize("argv", [("web:/a", ""), ("", "web:/a")])
def test_an_empty_path_names_nothing(daemon: CliDaemon, argv: tuple[str, str]) -> None:
    said = daemon.run("cp", *argv)
    assert said.code == 1 and "can not be empty" in said.err
    assert not daemon.seen


def test_an_export_is_its_owner_s_alone(daemon: CliDaemon, host: Path) -> None:
    """As docker's: a container's files may be secret, and a file that was must not be opened up by being replaced."""
    (host / "regular").chmod(0o600)
    for name in ("regular", "new"):
        assert daemon.run("export", "-o", f"{host}/{name}", "web").code == 0
        assert stat.S_IMODE((host / name).stat().st_mode) == 0o600


def test_standard_output_s_own_name_is_not_written_over(daemon: CliDaemon, host: Path) -> None:
    """/dev/stdout is a link to /proc/self/fd/1, whose text leads nowhere when that is a pipe."""
    (host / "stdout").symlink_to("/proc/self/fd/1")
    before = everything(host)
    for verb in VERBS.values():
        said = daemon.run(*(word.format(f"{host}/stdout") for word in verb))
        assert said.code and "no path of its own" in said.err
    assert everything(host) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a link of another user's is made by root")
def test_a_link_that_another_user_has_planted_is_not_followed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for owner in (0, 1000):
        (shared / str(owner)).symlink_to(tmp_path / "goal")
        os.lchown(shared / str(owner), owner, owner)
    with resolve(str(shared / "0")) as there:
        assert there.name == "goal"
    with pytest.raises(Failure, match=r"not followed.*uid 1000"):
        resolve(str(shared / "1000"))


def test_a_directory_that_is_swapped_for_a_link_moves_nothing(tmp_path: Path) -> None:
    for name in ("place", "victim"):
        (tmp_path / name).mkdir()
    with resolve(f"{tmp_path}/place/file") as there:
        (tmp_path / "place").rename(tmp_path / "moved")
        (tmp_path / "place").symlink_to("victim")
        with there.replaced() as file:
            file.write(b"text")
    assert (tmp_path / "moved/file").read_bytes() == b"text"
    assert not list((tmp_path / "victim").iterdir())
