"""What an image adds to what the user asked for, and what a container leaves to an image made of it.  Pure.

The rules are Docker's (moby daemon/container `merge`, read 2026-08): the user's entrypoint also drops the image's command.
"""

from __future__ import annotations

from msgspec.structs import replace

from hawse.supervisor.core.model import ContainerConfig, Healthcheck, Image, ImageConfig, MountSpec

DEFAULT_STOP_SIGNAL = "SIGTERM"
_CLEARED = ("",)  # `--entrypoint ""`: no entrypoint, not even the image's


def configure(config: ContainerConfig, image: Image | None) -> ContainerConfig:
    """The config with the image's defaults merged in, ready to be stored; `image` None: a root without an image."""
    base = image.config if image else ImageConfig()
    entrypoint, cmd = config.entrypoint, config.cmd
    if not entrypoint:
        entrypoint, cmd = base.entrypoint, cmd or base.cmd
    mounted = {mount.target for mount in config.mounts}
    volumes = (MountSpec(type="volume", target=path) for path in base.volumes if path not in mounted)
    return replace(
        config,
        image_id=image.id if image else None,
        entrypoint=() if entrypoint == _CLEARED else entrypoint,
        cmd=cmd,
        env=_merged_env(base.env, config.env),
        workdir=config.workdir or base.workdir,
        user=config.user or base.user,
        exposed=tuple(dict.fromkeys((*config.exposed, *base.exposed))),
        labels={**base.labels, **config.labels},
        mounts=(*config.mounts, *volumes),
        stop_signal=config.stop_signal or base.stop_signal or DEFAULT_STOP_SIGNAL,
        healthcheck=_merged_healthcheck(base.healthcheck, config.healthcheck),
    )


def image_config(config: ContainerConfig, base: Image | None) -> ImageConfig:
    """Return what `commit` keeps of a container: its settings become the defaults of the new image."""
    return ImageConfig(
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        env=tuple(item for item in config.env if "=" in item),
        workdir=config.workdir,
        user=config.user,
        exposed=config.exposed,
        volumes=base.config.volumes if base else (),
        labels=config.labels,
        stop_signal=config.stop_signal if config.stop_signal != DEFAULT_STOP_SIGNAL else "",
        healthcheck=config.healthcheck,
    )


def _merged_env(base: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """The image's, in its order, then the user's, which win.  A name without "=" takes the image's variable away."""
    named = {item.partition("=")[0] for item in own}
    return (*(item for item in base if item.partition("=")[0] not in named), *own)


def _merged_healthcheck(base: Healthcheck, own: Healthcheck) -> Healthcheck:
    """Each setting that the user left open is the image's; a test of the user's is taken whole."""
    return Healthcheck(
        test=own.test or base.test,
        interval=own.interval or base.interval,
        timeout=own.timeout or base.timeout,
        start_period=own.start_period or base.start_period,
        start_interval=own.start_interval or base.start_interval,
        retries=own.retries or base.retries,
    )
