"""Changes and defaults: pure functions with Docker's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import ContainerConfig, Healthcheck, Image, ImageConfig, ImageId, MountSpec
from hawse.supervisor.images import instructions
from hawse.supervisor.images.configure import configure, image_config


def changed(*given: str, base: ImageConfig | None = None) -> ImageConfig:
    return instructions.apply(base or ImageConfig(), given)


def test_commands() -> None:
    assert changed('CMD ["top", "-b"]').cmd == ("top", "-b")
    assert changed("cmd top -b").cmd == ("/bin/sh", "-c", "top -b")
    assert changed("ENTRYPOINT [1]").entrypoint == ("/bin/sh", "-c", "[1]")
    assert changed("CMD x", "CMD []").cmd == ()


def test_environment_and_labels() -> None:
    assert changed("ENV A=1 B='two words'", "ENV A=3").env == ("A=3", "B=two words")
    assert changed("ENV OLD the rest of it").env == ("OLD=the rest of it",)
    assert changed('LABEL a.b="x y" c=', base=ImageConfig(labels={"z": "1"})).labels == {
        "z": "1",
        "a.b": "x y",
        "c": "",
    }


def test_the_rest() -> None:
    done = changed(
        "EXPOSE 80 53/udp 7000-7002",
        "EXPOSE 80/tcp",
        'VOLUME ["/data", "/b c"]',
        "VOLUME /data /more",
        "WORKDIR /srv",
        "WORKDIR app",
        "USER app:staff",
        "STOPSIGNAL SIGQUIT",
    )
    assert done.exposed == ("80/tcp", "53/udp", "7000/tcp", "7001/tcp", "7002/tcp")
    assert done.volumes == ("/data", "/b c", "/more")
    assert (done.workdir, done.user, done.stop_signal) == ("/srv/app", "app:staff", "SIGQUIT")


def test_health_checks() -> None:
    check = changed("HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f localhost || exit 1").healthcheck
    assert check == Healthcheck(test=("CMD-SHELL", "curl -f localhost || exit 1"), interval=90 * 10**9, retries=3)
    assert changed('HEALTHCHECK CMD ["true"]').healthcheck.test == ("CMD", "true")
    assert changed("HEALTHCHECK NONE").healthcheck.test == ("NONE",)


@pytest.mark.parametrize(
    "change",
    [
        "", "RUN ls", "CMD", "ENV", "ENV A", "ENV =x", "ENV A=1 B", "LABEL 'a", "EXPOSE x", "EXPOSE 0", "EXPOSE 90000",
        "EXPOSE 9-8", "USER a b", "STOPSIGNAL no!", "HEALTHCHECK x", "HEALTHCHECK --interval=x CMD y", 'VOLUME [""]',
        "HEALTHCHECK --retries=x CMD y", "HEALTHCHECK --wat=1 CMD y",
    ],
)  # fmt: skip
def test_bad_changes(change: str) -> None:
    with pytest.raises(UserError):
        changed(change)


@given(st.text(max_size=40))
def test_any_change_works_or_is_a_users_error(text: str) -> None:
    for word in ("CMD", "ENV", "EXPOSE", "VOLUME", "HEALTHCHECK", "LABEL", "WORKDIR"):
        try:
            changed(f"{word} {text}")
        except UserError:
            pass


IMAGE = Image(
    id=ImageId("sha256:" + "1" * 64),
    created_at=1,
    layers=("a",),
    config=ImageConfig(
        entrypoint=("/entry",),
        cmd=("serve",),
        env=("PATH=/image", "A=image"),
        workdir="/srv",
        user="app",
        exposed=("80/tcp",),
        volumes=("/data", "/cache"),
        labels={"from": "image", "a": "image"},
        stop_signal="SIGQUIT",
        healthcheck=Healthcheck(test=("CMD", "check"), retries=7),
    ),
)


def test_an_image_s_defaults() -> None:
    config = configure(ContainerConfig(image="x", stop_signal=""), IMAGE)
    assert config.argv == ("/entry", "serve")
    assert config.image_id == IMAGE.id
    assert (config.workdir, config.user, config.stop_signal) == ("/srv", "app", "SIGQUIT")
    assert config.env == IMAGE.config.env and config.exposed == ("80/tcp",)
    assert [(m.type, m.target, m.source) for m in config.mounts] == [("volume", "/data", ""), ("volume", "/cache", "")]
    assert config.healthcheck == IMAGE.config.healthcheck


def test_the_user_s_word_wins() -> None:
    own = ContainerConfig(
        image="x",
        env=("B=user", "A=user"),
        labels={"a": "user"},
        workdir="/tmp",
        user="0",
        exposed=("81/tcp", "80/tcp"),
        stop_signal="SIGINT",
        mounts=(MountSpec(type="bind", source="/x", target="/data"),),
        healthcheck=Healthcheck(interval=5),
    )
    config = configure(own, IMAGE)
    assert config.env == ("PATH=/image", "B=user", "A=user")
    assert config.labels == {"from": "image", "a": "user"}
    assert (config.workdir, config.user, config.stop_signal) == ("/tmp", "0", "SIGINT")
    assert config.exposed == ("81/tcp", "80/tcp")
    assert [m.target for m in config.mounts] == ["/data", "/cache"]
    assert config.healthcheck == Healthcheck(test=("CMD", "check"), retries=7, interval=5)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "argv"),
    [
        ((), (), ("/entry", "serve")),
        ((), ("sh",), ("/entry", "sh")),
        (("/mine",), (), ("/mine",)),
        (("/mine",), ("x",), ("/mine", "x")),
        (("",), ("sh",), ("sh",)),
        (("",), (), ()),
    ],
)
def test_entrypoint_and_command(entrypoint: tuple[str, ...], cmd: tuple[str, ...], argv: tuple[str, ...]) -> None:
    assert configure(ContainerConfig(image="x", entrypoint=entrypoint, cmd=cmd), IMAGE).argv == argv


def test_a_root_without_an_image() -> None:
    config = configure(ContainerConfig(rootfs="/", cmd=("sh",), stop_signal=""), None)
    assert config.argv == ("sh",) and config.image_id is None and config.stop_signal == "SIGTERM"


def test_a_container_s_settings_become_an_image_s() -> None:
    config = configure(ContainerConfig(image="x", cmd=("serve", "-v"), stop_signal=""), IMAGE)
    kept = image_config(config, IMAGE)
    assert kept.cmd == ("serve", "-v")
    assert configure(ContainerConfig(image="y", stop_signal=""), Image(
        id=IMAGE.id, created_at=2, layers=(), config=kept
    )) == ContainerConfig(**{**{f: getattr(config, f) for f in config.__struct_fields__}, "image": "y"})  # fmt: skip
    assert image_config(ContainerConfig(rootfs="/", env=("DROPPED", "A=1")), None).env == ("A=1",)
