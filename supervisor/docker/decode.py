"""Docker's create body → ContainerConfig.  Pure: nothing is looked up, only read, checked and translated.

Every bad value is a UserError that names the field, the value and the remedy.  Fields that hawse does not know are ignored,
as Docker ignores them; fields it knows and cannot honour are refused where ignoring them would give less isolation or data
than was asked for, and are a warning otherwise.  Image defaults are merged later (images/), so absent stays empty here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from msgspec.structs import replace

from hawse.supervisor.core.capabilities import capabilities
from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.eventnames import event_types
from hawse.supervisor.core.model import (
    DEFAULT_NETWORK,
    ContainerConfig,
    EndpointRequest,
    Healthcheck,
    NetworkName,
    OwnHook,
)
from hawse.supervisor.core.signal_names import signal_number
from hawse.supervisor.docker import decode_host as host
from hawse.supervisor.docker import decode_mounts as mounts
from hawse.supervisor.docker import decode_ports as ports
from hawse.supervisor.docker import decode_security
from hawse.supervisor.docker.body import Body, console_size, invalid
from hawse.supervisor.docker.decode_links import links

MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\Z", re.IGNORECASE)
HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?\Z")
_NO_NETWORKS = ("none", "host")
_DOCKERS_OWN = "com.docker.network."
"""What endpoint options begin with that a driver of docker's would do something for; all others are labels."""
_MAX_SECONDS = 86_400 * 365
_MAX_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was asked for, and what will not be done about it (for the answer's Warnings)."""

    config: ContainerConfig
    warnings: tuple[str, ...] = ()


def container_config(body: Body) -> Decoded:
    """The whole body of POST /containers/create.  Raises UserError."""
    outer = body.body("HostConfig")
    extension = body.body("Hawse")
    warnings: list[str] = []
    image = body.text("Image")
    rootfs = extension.text("Rootfs")
    if rootfs and not rootfs.startswith("/"):
        raise invalid(extension.path("Rootfs"), rootfs, "an absolute path")
    if not image and not rootfs:
        raise UserError("config.Image is required", hint="name an image, or give a directory with --rootfs")
    host.refuse_unsupported(outer, warnings)
    tty, stdin = body.flag("Tty"), body.flag("OpenStdin")
    mode, endpoints = _networks(body, outer)
    linked = links(outer.strings("Links"))
    if linked and (mode in _NO_NETWORKS or mode.startswith("container:")):
        kind = mode.partition(":")[0]
        raise UserError(
            f"conflicting options: {kind} type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    if linked and mode != DEFAULT_NETWORK:  # there they are what EndpointsConfig has under that name
        endpoints = (replace(endpoints[0], links=(*endpoints[0].links, *linked)), *endpoints[1:])
    published = ports.bindings(outer)
    exposed = ports.exposed(body, published)
    if mode.startswith("container:"):
        own = {"port publishing": published, "hostname": body.text("Hostname")}
        own |= {"dns": outer.strings("Dns"), "custom host-to-IP mapping": outer.strings("ExtraHosts")}
        for what in (what for what, given in own.items() if given):
            raise UserError(f"conflicting options: {what} and the container type network mode")
    if mode == "host" and published:
        warnings.append("Published ports are discarded when using host network mode")
    security = decode_security.security(outer, warnings)
    policy = host.restart_policy(outer)
    auto_remove = outer.flag("AutoRemove")
    if auto_remove and policy.name != "no":
        raise UserError("can't create 'AutoRemove' container with restart policy")
    log = host.logging(outer, warnings)
    host.warn_of_unused(body, outer, warnings)
    entrypoint, cmd = body.words("Entrypoint"), body.words("Cmd")
    config = ContainerConfig(
        image=image,
        rootfs=rootfs,
        entrypoint=entrypoint or (),
        cmd=cmd or (),
        env=_environment(body),
        workdir=_workdir(body),
        user=body.text("User"),
        hostname=_hostname(body, "Hostname"),
        domainname=_hostname(body, "Domainname"),
        labels=body.strings_map("Labels"),
        tty=tty,
        console=console_size(outer),
        stdin_open=stdin,
        stdin_once=stdin and body.flag("StdinOnce"),
        auto_remove=auto_remove,
        network_mode=mode,
        endpoints=endpoints,
        ports=published,
        exposed=exposed,
        publish_all=outer.flag("PublishAllPorts"),
        mounts=mounts.mounts(body, outer),
        resources=host.resources(outer),
        cap_add=outer.strings("CapAdd"),
        cap_drop=outer.strings("CapDrop"),
        privileged=outer.flag("Privileged"),
        userns=_userns(outer, extension),
        no_new_privileges=security.no_new_privileges,
        seccomp=security.seccomp,
        apparmor=security.apparmor,
        read_only=outer.flag("ReadonlyRootfs"),
        init=outer.flag("Init"),
        stop_signal=_signal(body),
        stop_timeout=body.integer("StopTimeout", ContainerConfig().stop_timeout, least=-1, most=_MAX_SECONDS),
        restart=policy,
        healthcheck=_healthcheck(body.body("Healthcheck")),
        ulimits=host.ulimits(outer),
        sysctls=host.sysctls(outer, mode),
        shm_size=outer.integer("ShmSize", 0, least=0) or ContainerConfig().shm_size,
        oom_score_adj=outer.integer("OomScoreAdj", 0, least=-1000, most=1000),
        devices=host.devices(outer),
        device_rules=host.device_rules(outer),
        group_add=outer.strings("GroupAdd"),
        extra_hosts=host.extra_hosts(outer),
        links=linked if mode == DEFAULT_NETWORK else (),
        dns=host.resolvers(outer),
        dns_search=outer.strings("DnsSearch"),
        dns_options=outer.strings("DnsOptions"),
        log_max_size=log.max_size,
        log_max_files=log.max_files,
        log_driver=log.driver,
        log_details=log.details,
        log_options=outer.body("LogConfig").strings_map("Config"),
        shown=host.shown(outer),
        hooks=_hooks(extension),
    )
    capabilities(config)
    return Decoded(config, tuple(warnings))


def _networks(body: Body, outer: Body) -> tuple[str, tuple[EndpointRequest, ...]]:
    """NetworkMode, and one request for each network.  The mode's own network comes first, whatever the object's order."""
    mode = outer.text("NetworkMode")
    mode = "bridge" if mode in ("", "default") else mode
    if body.flag("NetworkDisabled"):
        mode = "none"
    config = body.body("NetworkingConfig").body("EndpointsConfig")
    asked = {name: settings(name, config.body(name)) for name in config}
    if "default" in asked:
        asked["bridge"] = asked.pop("default")
    if mode.startswith("container:"):
        if not mode.removeprefix("container:"):
            raise invalid("HostConfig.NetworkMode", mode, "container:NAME")
        return mode, ()
    if mode in _NO_NETWORKS:
        if others := [name for name in asked if name != mode]:
            raise UserError(f"conflicting options: cannot attach both {mode} and the network {others[0]}")
        return mode, ()
    if bad := next((name for name in asked if name in _NO_NETWORKS or name.startswith("container:")), None):
        raise UserError(f"conflicting options: cannot attach both {mode} and the network {bad}")
    mac = _mac("MacAddress", body.text("MacAddress"))
    first = asked.pop(mode, None) or EndpointRequest(network=NetworkName(mode))
    if mac and not first.mac:
        first = replace(first, mac=mac)
    return mode, (first, *asked.values())


def settings(network: str, given: Body) -> EndpointRequest:
    """Decode one entry of EndpointsConfig; also the EndpointConfig of POST /networks/X/connect."""
    ipam = given.body("IPAMConfig")
    if ipam.text("IPv6Address"):
        raise invalid(ipam.path("IPv6Address"), ipam.text("IPv6Address"), "absent: hawse's networks are IPv4 only")
    if ipam.strings("LinkLocalIPs"):
        raise invalid(ipam.path("LinkLocalIPs"), [], "absent: a container has one address on each network")
    if given.integer("GwPriority"):
        raise invalid(
            given.path("GwPriority"), given.integer("GwPriority"), "0: the first network has the default route"
        )
    options = given.strings_map("DriverOpts")
    if ours := next((name for name in options if name.startswith(_DOCKERS_OWN)), None):
        raise invalid(given.path(f"DriverOpts.{ours}"), options[ours], "absent: hawse's networks have no such option")
    linked = links(given.strings("Links"))
    if linked and network in (DEFAULT_NETWORK, "default"):
        raise UserError(
            "links are only supported for user-defined networks", hint="HostConfig.Links is for the default one"
        )
    return EndpointRequest(
        network=NetworkName(network),
        ip=ipam.address("IPv4Address"),
        mac=_mac(given.path("MacAddress"), given.text("MacAddress")),
        aliases=given.strings("Aliases"),
        links=linked,
        driver_opts=options,
    )


def _mac(path: str, value: str) -> str:
    if not value:
        return ""
    if not MAC.match(value) or int(value[:2], 16) & 1:
        raise invalid(path, value, "a unicast MAC address such as 02:42:0a:00:00:05")
    return value.lower().replace("-", ":")


def _environment(body: Body) -> tuple[str, ...]:
    values = body.strings("Env")
    for index, value in enumerate(values):
        if value.startswith("=") or not value:
            raise invalid(f"Env[{index}]", value, "NAME=value")
    return values


def _workdir(body: Body) -> str:
    workdir = body.text("WorkingDir")
    if workdir and not workdir.startswith("/"):
        raise UserError(f"the working directory '{workdir}' is invalid, it needs to be an absolute path")
    return workdir


def _hostname(body: Body, name: str) -> str:
    value = body.text(name)
    if value and not HOSTNAME.match(value):
        raise invalid(name, value, "letters, digits, dots and hyphens, 64 at most")
    return value


def _hooks(extension: Body) -> tuple[OwnHook, ...]:
    """Hawse.Hooks: [{"Event": "container.exited", "Command": "logger gone"}]; only from a request, never from an image."""
    found = []
    for given in extension.bodies("Hooks"):
        event, command = given.text("Event"), given.text("Command")
        event_types(event)
        if not command or "\0" in command:
            raise invalid(given.path("Command"), command, "a command for the host's shell")
        found.append(OwnHook(event=event, command=command))
    return tuple(found)


def _userns(outer: Body, extension: Body) -> str:
    value = extension.text("Userns") or outer.text("UsernsMode")
    if value not in ("", "host"):
        raise invalid("HostConfig.UsernsMode", value, 'empty (a range of its own) or "host"')
    return value


def _signal(body: Body) -> str:
    value = body.text("StopSignal")
    if value:
        signal_number(value)
    return value


def _healthcheck(body: Body) -> Healthcheck:
    test = body.words("Test") or ()
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise invalid(body.path("Test"), test[0], "NONE, CMD or CMD-SHELL, then the command")
    times = {
        name: body.integer(field, 0, least=0, most=_MAX_NS)
        for name, field in (
            ("interval", "Interval"),
            ("timeout", "Timeout"),
            ("start_period", "StartPeriod"),
            ("start_interval", "StartInterval"),
        )
    }
    for name, value in times.items():
        if 0 < value < 1_000_000:
            raise UserError(f"{name.replace('_', ' ')} in Healthcheck cannot be less than 1ms")
    return Healthcheck(test=test, retries=body.integer("Retries", 0, least=0, most=1 << 31), **times)
