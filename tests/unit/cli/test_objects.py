"""Verbs for images, networks, volumes and the system: what they ask a daemon for, and what they print."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.supervisor.api import wire
from tests.unit.cli.daemon import CliDaemon, Request


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[CliDaemon]:
    made = CliDaemon(tmp_path)
    yield made
    made.close()


def test_network_create_sends_what_was_typed(daemon: CliDaemon) -> None:
    daemon.routes["POST /networks/create"] = {"Id": "n1"}
    said = daemon.run("network", "create", "--driver", "bridge", "--subnet", "10.10.10.1/24", "testbr")
    assert (said.code, said.out) == (0, "n1\n")
    body = daemon.seen[0].json
    assert (body["Name"], body["Driver"], body["IPAM"]["Config"]) == ("testbr", "bridge", [{"Subnet": "10.10.10.1/24"}])


def test_network_list(daemon: CliDaemon) -> None:
    network = {"Id": "f" * 64, "Name": "testbr", "Driver": "bridge", "Scope": "local"}
    daemon.routes["GET /networks"] = [
        {**network, "IPAM": {"Config": [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]}},
        {"Id": "0" * 64, "Name": "host", "Driver": "host", "Scope": "local", "IPAM": {"Config": None}},
    ]
    for verb in ("list", "ls"):
        lines = daemon.run("network", verb).out.splitlines()
        assert lines[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE", "SUBNET"]
        assert [line.split() for line in lines[1:]] == [
            ["0" * 12, "host", "host", "local"],
            ["f" * 12, "testbr", "bridge", "local", "10.10.10.0/24"],
        ]


def test_network_connect_and_disconnect(daemon: CliDaemon) -> None:
    daemon.routes["POST /networks/net/.*"] = None
    daemon.run("network", "connect", "--ip", "10.0.0.5", "--alias", "db", "net", "web")
    daemon.run("network", "disconnect", "-f", "net", "web")
    assert [r.json for r in daemon.seen] == [
        {"Container": "web", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["db"]}},
        {"Container": "web", "Force": True},
    ]


def test_images(daemon: CliDaemon) -> None:
    image = {"Id": f"sha256:{'ab' * 32}", "Created": int(time.time()) - 3600 * 5, "Size": 4_261_000, "Containers": -1}
    daemon.routes["GET /images/json"] = [
        {**image, "RepoTags": ["tiny:2", "host:5000/tiny:latest"]},
        {**image, "RepoTags": None},
    ]
    for argv in (["images"], ["image", "ls"]):
        lines = daemon.run(*argv).out.splitlines()
        assert lines[1].split() == ["tiny", "2", "abababababab", "5", "hours", "ago", "4.26MB"]
        assert lines[2].split()[:2] == ["host:5000/tiny", "latest"]
        assert lines[3].split()[:2] == ["<none>", "<none>"]
    assert daemon.run("images", "--digests").out.splitlines()[1].split()[:4] == ["tiny", "2", "<none>", "abababababab"]


def test_rmi_and_tag(daemon: CliDaemon) -> None:
    daemon.routes["DELETE /images/repo/x:1"] = [{"Untagged": "repo/x:1"}, {"Deleted": "sha256:1"}]
    daemon.routes["POST /images/a/tag"] = None
    assert daemon.run("rmi", "repo/x:1").out == "Untagged: repo/x:1\nDeleted: sha256:1\n"
    assert daemon.run("tag", "a", "host:5000/b:c").code == 0
    assert daemon.seen[-1].query == {"repo": "host:5000/b", "tag": "c"}


def test_import_streams_the_archive(daemon: CliDaemon, tmp_path: Path) -> None:
    daemon.routes["POST /images/create"] = lambda r: r.answer(b'{"status":"sha256:1"}\n')
    (tmp_path / "x.tar").write_bytes(b"archive" * 100_000)
    assert daemon.run("import", "-c", 'CMD ["top"]', str(tmp_path / "x.tar"), "tiny:2").out == "sha256:1\n"
    assert daemon.run("image", "import", "-", "piped", input=b"data").code == 0
    first, second = daemon.seen
    assert first.body == b"archive" * 100_000 and second.body == b"data"
    assert first.query == {"fromSrc": "-", "repo": "tiny", "tag": "2", "changes": 'CMD ["top"]'}
    assert daemon.run("import", str(tmp_path / "nothing")).err.startswith(f"hawse: {tmp_path}/nothing: No such file")


def test_an_import_that_fails_after_its_head(daemon: CliDaemon) -> None:
    daemon.routes["POST /images/create"] = lambda r: r.answer(b'{"error":"not a tar","errorDetail":{}}\n')
    said = daemon.run("import", "-", "x", input=b"junk")
    assert (said.code, said.err) == (1, "hawse: not a tar\n")


def test_export_is_whole_or_not_there(daemon: CliDaemon, tmp_path: Path) -> None:
    daemon.routes["GET /containers/web/export"] = lambda r: r.answer(b"tar")
    assert daemon.run("export", "web").raw == b"tar"
    daemon.run("export", "-o", str(tmp_path / "out.tar"), "web")
    assert (tmp_path / "out.tar").read_bytes() == b"tar"

    def cut(request: Request) -> None:
        request.begin()
        request.chunk(b"half")
        request.sock.shutdown(2)

    daemon.routes["GET /containers/web/export"] = cut
    assert daemon.run("export", "-o", str(tmp_path / "cut.tar"), "web").code == 1
    assert not list(tmp_path.glob("cut*"))


def test_commit(daemon: CliDaemon) -> None:
    daemon.routes["POST /commit"] = lambda r: r.answer({"Id": "sha256:9"}, 201)
    assert daemon.run("commit", "-m", "why", "-p=false", "web", "edition:1").out == "sha256:9\n"
    assert daemon.seen[0].query == {
        "container": "web",
        "repo": "edition",
        "tag": "1",
        "comment": "why",
        "pause": "0",
    }


def test_volumes(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "POST /volumes/create": {"Name": "v"},
        "GET /volumes": {"Volumes": [{"Name": "v", "Driver": "local", "Mountpoint": "/x", "Scope": "local"}]},
    }
    assert daemon.run("volume", "create", "--label", "a=b", "v").out == "v\n"
    assert daemon.seen[0].json["Labels"] == {"a": "b"}
    assert daemon.run("volume", "ls").out.splitlines()[1].split() == ["local", "v"]
    assert daemon.run("volume", "ls", "-q").out == "v\n"


def test_prune_asks_first(daemon: CliDaemon) -> None:
    daemon.routes["POST /containers/prune"] = {"ContainersDeleted": ["abc"], "SpaceReclaimed": 2048}
    no = daemon.run("container", "prune", input=b"n\n")
    assert (no.code, daemon.seen) == (1, [])
    yes = daemon.run("container", "prune", input=b"y\n")
    assert yes.out.endswith("Deleted Containers:\nabc\n\nTotal reclaimed space: 2.048kB\n")
    assert daemon.run("container", "prune", "--force").code == 0


def test_system_prune_and_df(daemon: CliDaemon) -> None:
    daemon.routes |= {
        "POST /(containers|networks|images)/prune": {"SpaceReclaimed": 1000},
        "GET /system/df": {
            "Images": [{"Size": 4000, "Containers": 1}, {"Size": 1000, "Containers": 0}],
            "Containers": [{"State": "exited", "SizeRw": 10}],
            "Volumes": None,
        },
    }
    for force in ("--force", "-f"):
        assert "Total reclaimed space: 3kB" in daemon.run("system", "prune", force).out
    lines = [line.split() for line in daemon.run("system", "df").out.splitlines()]
    assert lines[1] == ["Images", "2", "1", "5kB", "1kB", "(20%)"]
    assert lines[2] == ["Containers", "1", "0", "10B", "10B", "(100%)"]
    assert daemon.run("system", "df", "--format", "{{.Type}}: {{.TotalCount}}").out.splitlines()[0] == "Images: 2"
    first = json.loads(daemon.run("system", "df", "--format", "json").out.splitlines()[0])
    assert first == {"Type": "Images", "TotalCount": "2", "Active": "1", "Size": "5kB", "Reclaimable": "1kB (20%)"}
    assert daemon.run("system", "df", "-v", "--format", "{{len .Images}}").out == "2\n"
    image = {"Id": "sha256:" + "a" * 64, "RepoTags": ["busybox:1"], "Created": 0, "Size": 4000, "Containers": 1}
    box = {
        "Id": "b" * 64,
        "Image": "busybox",
        "Command": "sleep 1000",
        "Mounts": [{"Type": "volume"}, {"Type": "bind"}],
        "SizeRw": 10,
        "Created": 0,
        "Status": "Up 2 hours",
        "Names": ["/box"],
    }
    volume = {"Name": "data", "UsageData": {"Size": 2000, "RefCount": 1}}
    daemon.routes["GET /system/df"] = {"Images": [image], "Containers": [box], "Volumes": [volume]}
    shown = [line.split() for line in daemon.run("system", "df", "-v").out.splitlines()]
    (image_line,) = (line for line in shown if line[:1] == ["busybox"])
    assert image_line[:3] == ["busybox", "1", "a" * 12] and image_line[-2:] == ["4kB", "1"]
    (box_line,) = (line for line in shown if line[:1] == ["b" * 12])
    assert box_line[1:6] == ["busybox", '"sleep', '1000"', "1", "10B"] and box_line[-4:] == ["Up", "2", "hours", "box"]
    assert ["data", "1", "2kB"] in shown


def test_version_and_info(daemon: CliDaemon) -> None:
    server = {"Version": "9", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "KernelVersion": "6", "Os": "linux"}
    native = {
        **dict.fromkeys(("version", "api_version", "kernel", "python", "root", "run_dir", "instance"), "x"),
        "cursor": "e-5",
        "oldest_cursor": "e-0",
        "counts": {"containers": 2},
        "durable": True,
        "warnings": ["network web: cut"],
        "features": [
            {"name": "overlay", "found": False, "costs": "nothing starts", "detail": "", "remedy": "modprobe"}
        ],
    }
    daemon.routes |= {
        "GET /version": {**server, "Arch": "amd64"},
        "GET /info": {"NCPU": 2},
        f"GET {wire.NATIVE}/info": native,
    }
    assert "Server:\n Version: 9\n" in daemon.run("version").out
    assert daemon.run("version", "--format", "{{.Server.Version}} {{.Client.ApiVersion}}").out == "9 1.47\n"
    out = daemon.run("info").out
    assert "WARNING: network web: cut\n" in daemon.run("info").err and " Durable answers: on\n" in out
    assert " Containers: 2\n" in out and " overlay: no: nothing starts; modprobe\n" in out
    assert daemon.run("info", "-f", "{{.NCPU}} {{.Hawse.cursor}}").out == "2 e-5\n"


def test_many_dead_letters_do_not_fill_the_line(daemon: CliDaemon) -> None:
    hook = {"Name": "a.toml", "Events": ["x"], "Mode": "durable", "State": "ready", "Lag": 0, "Last": None}
    daemon.routes["GET /hawse/v1/hooks"] = [{**hook, "Dead": [7]}, {**hook, "Dead": list(range(40))}]
    _, one, many = daemon.run("hook", "ls").out.splitlines()
    assert " 7 " in f"{one} " and "more" not in one
    assert "0,1,2,3,4 and 35 more" in many
