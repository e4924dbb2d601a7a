"""Volumes, space, pruning, top, stats and uploads through the API."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import docker
import docker.errors
import pytest
from aiohttp import web

from hawse.supervisor.api import upload
from hawse.supervisor.api.endpoints.usage import _CELLS, _columns
from hawse.supervisor.core.errors import Forbidden, KernelError, UserError
from hawse.supervisor.core.model import Network, Volume
from hawse.supervisor.lifecycle.volumes import settle
from hawse.supervisor.linux import procfs
from hawse.supervisor.linux.diskusage import apparent_size
from hawse.supervisor.linux.procfs import machine_cpu_ns, processes, traffic
from tests.unit.api.client import Api, head, next_line
from tests.unit.api.test_connection import client, served


async def test_volumes_by_docker_py(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        made = client.volumes.create("data", labels={"a": "b"})
        assert made.attrs["Mountpoint"].endswith("/volumes/data") and os.path.isdir(made.attrs["Mountpoint"])
        assert [v.name for v in client.volumes.list(filters={"label": "a=b", "dangling": True})] == ["data"]
        assert client.volumes.list(filters={"dangling": False}) == []
        made.remove()
        with pytest.raises(docker.errors.NotFound, match="no such volume"):
            client.volumes.get("data")
        anonymous = client.volumes.create()
        client.volumes.create("named")
        assert client.volumes.prune()["VolumesDeleted"] == [anonymous.name]
        assert client.volumes.prune(filters={"all": True, "label!": ["x"]})["VolumesDeleted"] == ["named"]

    await api.docker(use)


def archive(**files: bytes) -> bytes:
    """A root file system as `docker import` takes it, owned by whoever runs the tests."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid = len(data), os.geteuid(), os.getegid()
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


async def test_images_by_docker_py(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        said = client.api.import_image_from_data(
            archive(hello=b"hi"), repository="mine", tag="v1", changes=["CMD hello", "ENV A=b"]
        )
        made = client.images.get("mine:v1")
        assert json.loads(said)["status"] == made.id
        assert made.attrs["Config"]["Cmd"] == ["/bin/sh", "-c", "hello"] and made.attrs["Config"]["Env"] == ["A=b"]
        assert made.tag("other", "v2") and set(client.images.get("mine:v1").tags) == {"mine:v1", "other:v2"}
        assert [i.id for i in client.images.list(name="other")] == [made.id]
        assert client.images.list(filters={"dangling": True}) == []
        assert made.history()[0]["Tags"] == ["mine:v1", "other:v2"]
        client.images.remove("other:v2")
        with pytest.raises(docker.errors.ImageNotFound, match="No such image: other:v2"):
            client.images.get("other:v2")
        assert client.images.prune(filters={"dangling": False})["SpaceReclaimed"] == sum(
            i.attrs["Size"] for i in [made]
        )
        with pytest.raises(docker.errors.APIError, match=r"lookup registry\.invalid: no such host"):
            client.images.pull("registry.invalid/alpine", tag="3")

    await api.docker(use)
    assert not list((api.engine.parts.places.root / "layers").iterdir())


async def test_a_container_is_committed(api: Api) -> None:
    ref = await api.created(Labels={"a": "b"})
    upper = api.engine.parts.places.of(ref).upper
    upper.mkdir(parents=True)
    (upper / "new").write_bytes(b"x")

    def use(client: docker.DockerClient) -> None:
        image = client.containers.get(ref).commit("mine", tag="v2", message="why", changes='CMD ["x"]\nUSER 5')
        assert image.tags == ["mine:v2"]
        assert (image.attrs["Config"]["Cmd"], image.attrs["Config"]["User"]) == (["x"], "5")
        assert image.labels == {"a": "b"}

    await api.docker(use)
    status, answer = await api.json("POST", "/commit")
    assert status == 400 and "container" in answer["message"]


async def test_an_archive_that_is_none_is_refused_and_leaves_nothing(api: Api) -> None:
    status, _, body = await api.request("POST", "/images/create?fromSrc=-&repo=x", b"not a tar at all" * 100)
    assert status == 400 and b"tar" in body
    assert (await api.json("GET", "/images/x/json"))[0] == 404
    assert not list((api.engine.parts.places.root / "layers").iterdir())
    assert (await api.request("POST", "/images/create?fromSrc=http://x/y.tar"))[0] == 400


async def test_a_volume_of_a_container_is_in_use(api: Api) -> None:
    await api.json("POST", "/volumes/create", {"Name": "data"})
    await api.created(HostConfig={"Binds": ["data:/data"]})
    status, answer = await api.json("DELETE", "/volumes/data")
    assert status == 409 and "volume is in use" in answer["message"]
    status, answer = await api.json("POST", "/volumes/create", {"Name": "x", "Driver": "nfs"})
    assert status == 400 and "local" in answer["message"]


async def test_pruning_takes_what_does_not_run(api: Api) -> None:
    running = await api.created()
    ended = await api.created(Labels={"keep": "1"})
    await api.engine.end(ended, 0)
    created = await api.created(start=False)
    upper = api.engine.parts.places.of(created).upper
    upper.mkdir(parents=True)
    (upper / "f").write_bytes(b"x" * 1000)
    _, answer = await api.json("POST", '/containers/prune?filters={"label!":["keep"]}')
    assert answer == {"ContainersDeleted": [created], "SpaceReclaimed": 1000}
    _, answer = await api.json("POST", '/containers/prune?filters={"until":["1h"]}')
    assert answer["ContainersDeleted"] is None
    _, answer = await api.json("POST", "/containers/prune")
    assert answer["ContainersDeleted"] == [ended]
    assert [c.id for c in await api.engine.containers()] == [running]


async def test_networks_that_nobody_uses_are_pruned(api: Api) -> None:
    for name in ("used", "unused"):
        await api.json("POST", "/networks/create", {"Name": name})
    await api.created(HostConfig={"NetworkMode": "used"})
    assert (await api.json("POST", "/networks/prune"))[1] == {"NetworksDeleted": ["unused"]}


async def test_a_network_that_cannot_be_removed_is_not_in_the_way_of_the_next(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("broken", "taken", "unused"):
        await api.json("POST", "/networks/create", {"Name": name})
    remove = api.engine.networks.remove

    async def fail(ref: str) -> Network:
        if ref == "unused":
            return await remove(ref)
        raise KernelError("delete link", errno.EBUSY, ref) if ref == "broken" else Forbidden("in use")

    monkeypatch.setattr(api.engine.networks, "remove", fail)
    status, answer = await api.json("POST", "/networks/prune")
    assert status == 500 and "delete link broken" in answer["message"]
    assert [n["Name"] for n in (await api.json("GET", "/networks"))[1]][1:3] == ["broken", "taken"]


async def test_system_df_and_sizes(api: Api) -> None:
    ref = await api.created(HostConfig={"Binds": ["data:/data"]})
    await api.json("POST", "/volumes/create", {"Name": "data"})
    upper = api.engine.parts.places.of(ref).upper
    upper.mkdir(parents=True)
    (upper / "f").write_bytes(b"x" * 500)
    (api.engine.parts.places.volume("data") / "g").write_bytes(b"y" * 70)
    _, df = await api.json("GET", "/system/df")
    assert df["Volumes"][0]["UsageData"] == {"Size": 70, "RefCount": 1}
    assert df["Containers"][0]["SizeRw"] == 500 and df["Images"][0]["Containers"] == 1
    assert (await api.json("GET", f"/containers/{ref}/json?size=1"))[1]["SizeRw"] == 500
    assert (await api.json("GET", "/containers/json?size=1"))[1][0]["SizeRw"] == 500
    assert "SizeRw" not in (await api.json("GET", "/containers/json"))[1][0]


def test_sizes_count_hard_links_once_and_follow_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "loop").symlink_to("/")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "c").write_bytes(b"y" * 5)
    assert apparent_size(tmp_path) == 15
    assert apparent_size(tmp_path / "absent") == 0


async def test_top_of_a_container_that_does_not_run(api: Api) -> None:
    ref = await api.created(start=False)
    status, answer = await api.json("GET", f"/containers/{ref}/top")
    assert status == 409 and "is not running" in answer["message"]
    ref = await api.created()
    assert (await api.json("GET", f"/containers/{ref}/top"))[1]["Titles"][:3] == ["UID", "PID", "PPID"]


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        ("", ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")),
        ("-o pid,args", ("PID", "COMMAND")),
        ("-eo PID", ("PID",)),
        ("-o pid,comm", ("PID", "COMM")),
        ("-e -o pid -o comm,ppid", ("PID", "COMM", "PPID")),
    ],
)
def test_columns_of_top(arguments: str, columns: tuple[str, ...]) -> None:
    assert _columns(arguments) == columns


def test_an_unknown_form_of_ps_is_refused() -> None:
    for arguments in ("-o secret", "--forest", "-o"):
        with pytest.raises(UserError, match="ps_args"):
            _columns(arguments)


def test_our_own_process_as_ps_shows_it() -> None:
    (own,) = processes([os.getpid(), 2**22])
    assert (own.pid, own.ppid, own.uid) == (os.getpid(), os.getppid(), os.geteuid())
    assert own.name == Path("/proc/self/comm").read_text().rstrip("\n")
    assert "pytest" in own.command and own.resident > 1 << 20 and own.threads >= 1
    assert machine_cpu_ns() > 0 and traffic("no-such-device").rx_bytes == 0
    assert set(_columns("aux")) <= set(_CELLS)


def test_command_lines_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs can make them as long as they like: each is cut, and what all of them take together."""
    argv = ["sleep", *["0" * 100_000] * 8, "30"]
    sleepers = [subprocess.Popen(argv) for _ in range(3)]
    pids = sorted(sleeper.pid for sleeper in sleepers)
    try:
        while any(len(p.command) < 100 for p in processes(pids)):  # its memory is still being made
            time.sleep(0.01)
        assert [len(p.command) for p in processes(pids)] == [procfs.LONGEST_COMMAND] * 3
        monkeypatch.setattr(procfs, "ALL_COMMANDS", procfs.LONGEST_COMMAND + 1000)
        commands = [p.command for p in processes(pids)]
        assert [len(c) for c in commands[:2]] == [procfs.LONGEST_COMMAND, 1000] and commands[2] == "[sleep]"
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


async def test_stats_once_and_as_a_stream(api: Api) -> None:
    ref = await api.created()
    _, sample = await api.json("GET", f"/containers/{ref}/stats?stream=0&one-shot=1")
    assert sample["id"] == ref and sample["cpu_stats"]["online_cpus"] == os.cpu_count()
    assert sample["cpu_stats"]["system_cpu_usage"] > 0 and sample["memory_stats"]["limit"] > 0
    reader, writer = await api.send("GET", f"/containers/{ref}/stats?stream=1")
    await head(reader)
    first, second = json.loads(await next_line(reader)), json.loads(await next_line(reader))
    assert second["preread"] == first["read"] and second["precpu_stats"] == first["cpu_stats"]
    await api.engine.remove(ref, force=True)
    await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 60)
    writer.close()


async def test_an_upload_is_read_in_a_thread_whatever_its_pieces(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = upload.file(request.content)
        got = await asyncio.to_thread(lambda: b"".join(iter(lambda: body.read(100_001), b"")))
        return web.Response(text=str(got == data))

    async with served(tmp_path / "s", handle):
        reader, writer = await client(tmp_path / "s")
        writer.write(b"PUT /x HTTP/1.1\r\nHost: d\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(data), 77_777):
            piece = data[start : start + 77_777]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).endswith(b"True")
        writer.close()


async def test_an_upload_that_is_cut_off_is_an_error_and_not_a_short_file(tmp_path: Path) -> None:
    outcome: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = upload.file(request.content)
        try:
            outcome.set_result(await asyncio.to_thread(body.read))
        except BaseException as e:
            outcome.set_result(e)
        return web.Response()

    async with served(tmp_path / "s", handle):
        _, writer = await client(tmp_path / "s")
        writer.write(b"PUT /x HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\nonly this")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        assert isinstance(await asyncio.wait_for(outcome, 60), OSError)


async def test_a_name_that_no_directory_can_have(api: Api) -> None:
    """It is refused; a row that an older daemon took in fails no list and can be removed."""
    status, answer = await api.json("POST", "/volumes/create", {"Name": "v" * 256})
    assert status == 400 and "256 characters" in answer["message"]
    assert (await api.json("GET", "/volumes"))[1]["Volumes"] == []
    await api.engine.store.transact(lambda tx: tx.put_volume(Volume(name="v" * 300, created_at=1)))
    await settle(api.engine.parts.places, api.engine.store)  # the daemon starts with it
    assert (await api.json("GET", "/system/df"))[0] == 200
    assert await api.json("POST", "/volumes/prune") == (200, {"VolumesDeleted": [], "SpaceReclaimed": 0})
    assert (await api.json("DELETE", f"/volumes/{'v' * 300}"))[0] == 204
