"""Images from tar files and containers, and roots without an image."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from hawse.cli.selftest.busybox import busybox_tar
from hawse.cli.selftest.lab import REPOSITORY, Lab


def test_import_shows_up_and_runs(lab: Lab) -> None:
    said = lab.hawse("image", "import", busybox_tar(), "tiny:2").out.strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", said)
    assert re.search(rf"^tiny\s+2\s+{said[7:19]}\b", lab.hawse("image", "ls").out, re.MULTILINE)
    assert lab.hawse("run", "--rm", "tiny:2", "echo", "hi").out == "hi\n"
    lab.hawse("image", "rm", "tiny:2")
    assert not re.search(r"^tiny\b", lab.hawse("image", "ls").out, re.MULTILINE)


def test_import_from_stdin(lab: Lab) -> None:
    lab.hawse("image", "import", "-", "piped", input=busybox_tar().read_bytes())
    assert lab.hawse("run", "--rm", "piped", "true").code == 0
    lab.hawse("image", "rm", "piped")


def test_commit_keeps_what_was_written_and_deleted(lab: Lab) -> None:
    lab.hawse(
        "run", "--name", "author", "busybox", "sh", "-c", "echo new > /made; rm /www/index.html; chown 1000 /made"
    )
    lab.hawse("commit", "author", "edition:1")
    lab.hawse("rm", "author")
    shown = lab.hawse("run", "--rm", "edition:1", "sh", "-c", "cat /made; stat -c %u /made; ls -A /www").out
    assert shown == "new\n1000\n"
    lab.hawse("image", "rm", "edition:1")


def test_containers_do_not_write_into_the_image(lab: Lab) -> None:
    lab.hawse("run", "--rm", "busybox", "sh", "-c", "rm -r /www; echo x > /bin/x")
    assert lab.hawse("run", "--rm", "busybox", "sh", "-c", "ls /www; ls /bin/x", check=False).out == "index.html\n"


def test_an_image_in_use_is_not_removed(lab: Lab) -> None:
    lab.hawse("image", "import", busybox_tar(), "kept")
    identifier = lab.hawse("run", "-d", "kept", "sleep", "100").out.strip()
    refused = lab.hawse("image", "rm", "kept", check=False)
    assert refused.code == 1
    assert "is using" in refused.err and identifier[:12] in refused.err
    lab.hawse("rm", "-f", identifier)
    lab.hawse("image", "rm", "kept")


def test_a_tar_that_points_outside_is_refused(lab: Lab) -> None:
    for name, kind, link in (("../../escaped", tarfile.REGTYPE, ""), ("/etc/../../escaped", tarfile.REGTYPE, "")):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            archive.addfile(info, io.BytesIO(b""))
        lab.hawse("image", "import", "-", "evil", input=raw.getvalue(), check=False)
        assert not list(lab.state.rglob("escaped")) or all(
            p.is_relative_to(lab.root / "layers") for p in lab.state.rglob("escaped")
        )
        lab.hawse("image", "rm", "evil", check=False)


def test_a_symlink_in_a_tar_does_not_lead_a_later_entry_out(lab: Lab) -> None:
    raw = io.BytesIO()
    target = lab.state / "victim"
    target.mkdir()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(link)
        inside = tarfile.TarInfo("door/planted")
        inside.size = 1
        archive.addfile(inside, io.BytesIO(b"x"))
    lab.hawse("image", "import", "-", "evil", input=raw.getvalue(), check=False)
    assert not list(target.iterdir())
    lab.hawse("image", "rm", "evil", check=False)
    target.rmdir()


def test_something_that_is_no_tar_is_refused(lab: Lab) -> None:
    refused = lab.hawse("image", "import", "-", "junk", input=b"this is not a tar file" * 100, check=False)
    assert refused.code == 1 and refused.err
    assert "junk" not in lab.hawse("image", "ls").out


def test_the_host_itself_as_a_throwaway_root(lab: Lab) -> None:
    """--rootfs / is a copy-on-write view: the embedded default that needs no image."""
    marker = Path("/etc/hawse-was-here")
    script = (
        f"set -e; test -x {REPOSITORY}/script/test; echo changed > {marker}; cat {marker}; rm -r /usr/share/doc; id -u"
    )
    assert lab.hawse("run", "--rm", "--rootfs", "/", "sh", "-c", script).out == "changed\n0\n"
    assert not marker.exists()
    assert Path("/usr/share/doc").exists()


def test_a_directory_as_a_root_is_not_written_to(lab: Lab, debian: Path) -> None:
    before = sorted(p.name for p in (debian / "etc").iterdir())
    lab.hawse("run", "--rm", "--rootfs", debian, "sh", "-c", "touch /etc/new; rm /etc/passwd")
    assert sorted(p.name for p in (debian / "etc").iterdir()) == before


def test_a_debian_is_a_debian(lab: Lab, debian: Path) -> None:
    assert "Debian" in lab.hawse("run", "--rm", "--rootfs", debian, "cat", "/etc/os-release").out
