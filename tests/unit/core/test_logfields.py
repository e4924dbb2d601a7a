"""--log-opt as docker's journald driver takes it."""

from __future__ import annotations

import json

import pytest

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.logfields import journal_fields
from hawse.supervisor.core.model import Container, ContainerConfig, ContainerId, State
from hawse.supervisor.docker import body
from hawse.supervisor.docker.decode import container_config
from hawse.supervisor.docker.view_host import host_config


def config(driver: str = "journald", **options: str) -> ContainerConfig:
    logging = {"Type": driver, "Config": {name.replace("_", "-"): value for name, value in options.items()}}
    raw = {"Image": "x", "Env": ["A=1", "B=2"], "Labels": {"role": "db"}, "HostConfig": {"LogConfig": logging}}
    return container_config(body.parse(json.dumps(raw).encode())).config


def container(config: ContainerConfig) -> Container:
    return Container(
        id=ContainerId("0123456789abcdef" * 4), name="web", config=config, state=State.CREATED, created_at=1
    )


def test_the_fields_of_an_entry() -> None:
    made = container(config(tag="{{.Name}}/{{ .ID }}", labels="role,none", env="B"))
    assert journal_fields(made) == {
        "role": "db",
        "B": "2",
        "CONTAINER_ID": made.id[:12],
        "CONTAINER_ID_FULL": made.id,
        "CONTAINER_NAME": made.name,
        "CONTAINER_TAG": f"{made.name}/{made.id[:12]}",
        "SYSLOG_IDENTIFIER": f"{made.name}/{made.id[:12]}",
        "IMAGE_NAME": "x",
    }
    assert (journal_fields(container(config())) or {})["CONTAINER_TAG"] == made.id[:12]
    assert journal_fields(container(config("json-file"))) is None


def test_the_files_are_dockers_cache() -> None:
    made = config(cache_max_size="1m", cache_max_file="2", cache_disabled="false", tag="t")
    assert (made.log_max_size, made.log_max_files) == (1 << 20, 2)
    shown = {"cache-max-size": "1m", "cache-max-file": "2", "cache-disabled": "false", "tag": "t"}
    assert host_config(made)["LogConfig"] == {"Type": "journald", "Config": shown}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_size": "1m"}, "unknown log opt 'max-size' for journald log driver"),
        ({"tag": "{{.Secret}}"}, "not known"),
        ({"cache_disabled": "true"}, "cache-disabled"),
        ({"cache_max_file": "0"}, "cache-max-file"),
    ],
)
def test_what_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config(**options)
