"""Containers and networks over the API, by docker-py and by hand, in front of an engine without a kernel."""

from __future__ import annotations

import docker
import docker.errors
import pytest

from hawse.supervisor.api import wire
from hawse.supervisor.core.errors import NotFound
from tests.unit.api.client import Api
from tests.unit.api.fake_engine import BUSYBOX


async def test_docker_py_lives_through_a_container_s_life(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        made = client.containers.create("busybox", ["top"], name="web", labels={"a": "b"}, tty=True)
        assert made.status == "created" and made.name == "web"
        made.start()
        made.reload()
        assert made.status == "running" and made.labels == {"a": "b"}
        assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["web"]
        assert client.containers.list(filters={"label": "a=c"}) == []
        made.pause()
        made.unpause()
        made.rename("db")
        made.reload()
        assert made.name == "db"
        made.restart(timeout=1)
        with pytest.raises(docker.errors.APIError) as running:
            made.remove()
        assert running.value.status_code == 409
        made.stop(timeout=1)
        assert made.wait()["StatusCode"] == 143
        assert client.containers.list() == [] and len(client.containers.list(all=True)) == 1
        made.remove()
        with pytest.raises(docker.errors.NotFound) as gone:
            client.containers.get("db")
        assert "No such container: db" in str(gone.value)

    await api.docker(use)


async def test_starting_twice_and_stopping_twice_is_304(api: Api) -> None:
    ref = await api.created()
    assert (await api.request("POST", f"/containers/{ref}/start"))[0] == 304
    assert (await api.request("POST", f"/containers/{ref}/stop"))[0] == 204
    assert (await api.request("POST", f"/containers/{ref}/stop"))[0] == 304


async def test_an_unknown_image_is_404_in_docker_s_words(api: Api) -> None:
    status, answer = await api.json("POST", "/containers/create", {"Image": "nginx"})
    assert status == 404 and answer["message"].startswith("No such image: nginx:latest")


async def test_a_program_that_is_not_found_is_a_400_with_the_reason(api: Api) -> None:
    ref = await api.created(start=False, Cmd=["nope"])
    status, answer = await api.json("POST", f"/containers/{ref}/start")
    assert status == 400 and "executable file not found in $PATH" in answer["message"]


async def test_create_answers_warnings_and_the_name_clash(api: Api) -> None:
    body = {"Image": "busybox", "Cmd": ["x"], "HostConfig": {"BlkioWeight": 300}}
    status, answer = await api.json("POST", "/containers/create?name=one", body)
    assert status == 201 and "Block I/O weight" in answer["Warnings"][0]
    status, answer = await api.json("POST", "/containers/create?name=one", body)
    assert status == 409 and "already in use" in answer["message"]


async def test_the_list_is_filtered_bounded_and_newest_first(api: Api) -> None:
    refs = [await api.created(start=n != 1, Labels={"n": str(n)}) for n in range(3)]

    async def listed(query: str) -> list[str]:
        return [c["Id"] for c in (await api.json("GET", f"/containers/json?{query}"))[1]]

    assert await listed("") == [refs[2], refs[0]]
    assert await listed("all=1") == refs[::-1]
    assert await listed("limit=2") == [refs[2], refs[1]]
    assert await listed('filters={"status":["created"]}') == [refs[1]]
    assert await listed(f'all=1&filters={{"before":["{refs[2]}"]}}') == [refs[1], refs[0]]
    assert await listed(f'all=1&filters={{"since":{{"{refs[1]}":true}}}}') == [refs[2]]
    assert await listed('all=1&filters={"label":["n=1"],"ancestor":["busybox"]}') == [refs[1]]
    status, answer = await api.json("GET", '/containers/json?filters={"frob":["x"]}')
    assert status == 400 and "frob" in answer["message"]


async def test_update_changes_only_what_is_given(api: Api) -> None:
    ref = await api.created(HostConfig={"Memory": 100 << 20, "PidsLimit": 7})

    def use(client: docker.DockerClient) -> None:
        client.containers.get(ref).update(cpu_shares=512, restart_policy={"Name": "always"})

    await api.docker(use)
    config = (await api.engine.container(ref)).config
    assert (config.resources.memory, config.resources.cpu_shares, config.resources.pids_limit) == (100 << 20, 512, 7)
    assert config.restart.name == "always"
    status, answer = await api.json("POST", f"/containers/{ref}/update", {"MemorySwap": 50 << 20})
    assert status == 400 and "memoryswap" in answer["message"].lower()
    await api.json("POST", f"/containers/{ref}/update", {"PidsLimit": -1})
    assert (await api.engine.container(ref)).config.resources.pids_limit is None


async def test_the_native_record_and_info(api: Api) -> None:
    ref = await api.created()
    _, record = await api.json("GET", f"/hawse/v1/containers/{ref}")
    assert record["container"]["state"] == "running" and record["container"]["stages"] == {"total": 1}
    _, info = await api.json("GET", "/hawse/v1/info")
    assert info["counts"]["running"] == 1
    assert {"name", "found", "costs", "remedy", "needed"} <= set(info["features"][0])
    _, docker = await api.json("GET", "/info")
    assert docker["Warnings"] == ["WARNING: AppArmor: unconfined; load it"]


async def test_networks_by_docker_py(api: Api) -> None:
    def use(client: docker.DockerClient) -> None:
        pool = docker.types.IPAMPool(subnet="10.10.10.0/24", gateway="10.10.10.1")
        made = client.networks.create("testbr", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"x": "y"})
        assert [n.name for n in client.networks.list(names=["testbr"])] == ["testbr"]
        assert client.networks.list(filters={"label": "x=z"}) == []
        assert made.attrs["IPAM"]["Config"] == [{"Subnet": "10.10.10.0/24", "Gateway": "10.10.10.1"}]
        assert {n.name for n in client.networks.list(filters={"type": "builtin"})} == {"bridge", "host", "none"}
        made.remove()
        with pytest.raises(docker.errors.NotFound, match="testbr"):
            client.networks.get("testbr")

    await api.docker(use)


async def test_connect_and_disconnect_by_docker_py(api: Api) -> None:
    ref = await api.created(HostConfig={"NetworkMode": "bridge"})
    await api.json("POST", "/networks/create", {"Name": "testbr", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}})

    def use(client: docker.DockerClient) -> None:
        network = client.networks.get("testbr")
        network.connect(ref, ipv4_address="10.9.0.7", aliases=["web"])
        joined = client.containers.get(ref).attrs["NetworkSettings"]["Networks"]["testbr"]
        assert joined["IPAMConfig"] == {"IPv4Address": "10.9.0.7"} and joined["Aliases"] == ["web"]
        with pytest.raises(docker.errors.APIError, match="already exists in network testbr"):
            network.connect(ref)
        network.disconnect(ref)
        with pytest.raises(docker.errors.APIError, match="is not connected"):
            network.disconnect(ref)
        network.disconnect(ref, force=True)
        network.disconnect("nobody", force=True)

    await api.docker(use)


async def test_a_bad_network_request_is_named(api: Api) -> None:
    body = {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "10.0.0.9"}}]}}
    status, answer = await api.json("POST", "/networks/create", body)
    assert status == 400 and "AuxiliaryAddresses" in answer["message"]


async def test_info_and_version_by_docker_py(api: Api) -> None:
    await api.created()

    def use(client: docker.DockerClient) -> None:
        assert client.version()["ApiVersion"] == wire.API_VERSION
        info = client.info()
        assert (info["ContainersRunning"], info["ServerVersion"], info["OSType"]) == (1, wire.VERSION, "linux")

    await api.docker(use)


async def test_what_a_create_does_not_find_is_no_missing_image(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a 404 docker's client believes that it is the image, and pulls."""

    async def create(*_: object) -> None:
        raise NotFound("network nonesuch not found", hint="see")

    monkeypatch.setattr(api.engine, "create", create)
    body = {"Image": "busybox", "Cmd": ["x"], "HostConfig": {"NetworkMode": "nonesuch"}}
    status, answer = await api.json("POST", "/containers/create", body)
    assert (status, answer["message"]) == (400, "network nonesuch not found (see)")
    assert (await api.json("POST", "/containers/create", {"Image": "nonesuch", "Cmd": ["x"]}))[0] == 404


async def test_an_ancestor_is_the_image_whatever_it_is_called(api: Api) -> None:
    ref = await api.created()
    await api.json("POST", "/images/busybox/tag?repo=aa/bb&tag=1")
    for name in ("busybox", "busybox:latest", "aa/bb:1", BUSYBOX.id, BUSYBOX.id[7:19]):
        _, found = await api.json("GET", f'/containers/json?filters={{"ancestor":["{name}"]}}')
        assert [c["Id"] for c in found] == [ref], name
    for name in ("aa/bb", "busybox:1", "nonesuch"):
        assert (await api.json("GET", f'/containers/json?filters={{"ancestor":["{name}"]}}'))[1] == [], name


async def test_the_images_of_a_reference_have_no_other_names(api: Api) -> None:
    """`images REPO` may be the list that goes to `rmi`."""
    await api.json("POST", "/images/busybox/tag?repo=aa/bb&tag=1")

    async def called(pattern: str) -> list[list[str]]:
        _, found = await api.json("GET", f'/images/json?filters={{"reference":["{pattern}"]}}')
        return [image["RepoTags"] for image in found]

    assert await called("aa/bb") == await called("aa/b?:1") == await called("*/bb") == [["aa/bb:1"]]
    assert await called("busybox") == await called("*") == [["busybox:latest"]]
    assert await called("bb") == await called("busybox:1") == []


async def test_fields_of_a_request_in_another_case(api: Api) -> None:
    status, answer = await api.json("POST", "/containers/create", {"image": "busybox", "CMD": ["x"], "tty": True})
    assert status == 201
    assert (await api.engine.container(answer["Id"])).config.tty


async def test_an_update_says_what_it_leaves(api: Api) -> None:
    ref = await api.created()
    _, answer = await api.json("POST", f"/containers/{ref}/update", {"CpuShares": 5, "Ulimits": [{"Name": "nofile"}]})
    assert answer["Warnings"] == ["Ulimits cannot be updated and was discarded"]


async def test_another_platform_is_refused(api: Api) -> None:
    body = {"Image": "busybox", "Cmd": ["x"]}
    for platform in ("linux", "linux/amd64", "linux/x86_64/v2"):
        assert (await api.json("POST", f"/containers/create?platform={platform}", body))[0] == 201, platform
    for platform in ("linux/riscv64", "windows/amd64"):
        status, answer = await api.json("POST", f"/containers/create?platform={platform}", body)
        assert status == 400 and f"the specified platform ({platform})" in answer["message"]
    status, answer = await api.json("POST", "/images/create?fromSrc=-&platform=linux/riscv64", b"")
    assert status == 400 and "linux/riscv64" in answer["message"]
