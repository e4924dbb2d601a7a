"""The text of the three files every container is given: /etc/hosts, /etc/hostname and /etc/resolv.conf.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network

from hawse.supervisor.core.model import ContainerConfig

FALLBACK_NAMESERVERS = ("8.8.8.8", "8.8.4.4")  # docker's, when the host only has resolvers on its loopback
LOOPBACK = ("127.", "::1")


def hosts(
    config: ContainerConfig,
    hostname: str,
    addresses: Iterable[str],
    host_gateway: str = "",
    linked: Iterable[tuple[str, str]] = (),
) -> str:
    """localhost, --add-host entries (`host-gateway` is the gateway's address), links, then the container itself."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]
    for entry in config.extra_hosts:
        name, _, address = entry.partition(":")
        lines.append(f"{host_gateway if address == 'host-gateway' else address}\t{name}")
    lines += [f"{address}\t{names}" for address, names in linked]
    lines += [f"{address}\t{_own_names(config, hostname)}" for address in addresses]
    return "\n".join(lines) + "\n"


def hosts_now(
    text: str, config: ContainerConfig, hostname: str, addresses: Iterable[str], subnets: Collection[IPv4Network]
) -> str:
    """/etc/hosts of a running container whose networks have changed: its own lines follow, all others are the user's."""
    own, missing, lines = _own_names(config, hostname), list(addresses), []
    for line in text.splitlines():
        address, _, names = line.partition("\t")
        if names == own and address in missing:
            missing.remove(address)
        elif names == own and _within(address, subnets):
            continue
        lines.append(line)
    return "\n".join([*lines, *(f"{address}\t{own}" for address in missing)]) + "\n"


def _own_names(config: ContainerConfig, hostname: str) -> str:
    return f"{hostname}.{config.domainname} {hostname}" if config.domainname else hostname


def _within(address: str, subnets: Collection[IPv4Network]) -> bool:
    try:
        found = IPv4Address(address)
    except ValueError:
        return False
    return any(found in subnet for subnet in subnets)


def resolv_conf_now(text: str, wanted: str, plain: str, gateways: Collection[str]) -> str:
    """/etc/resolv.conf of a running container whose networks have changed.

    `wanted` is what it would be given now, `plain` the same without a name server of ours, which listen on `gateways`.
    One that a program inside has written is left alone, but for a name server of ours that answers it no more.
    """
    servers = [
        line.split()[1] for line in text.splitlines() if line.startswith("nameserver ") and len(line.split()) > 1
    ]
    if text == plain:
        return wanted
    if len(servers) == 1 and servers[0] in gateways and f"nameserver {servers[0]}" not in wanted.splitlines():
        return wanted
    return text


def is_local(host_text: str) -> bool:
    """Tell whether the host asks nobody but a resolver on its own loopback, which no other network namespace reaches."""
    servers = [
        rest.strip()
        for word, _, rest in (line.strip().partition(" ") for line in host_text.splitlines())
        if word == "nameserver"
    ]
    return bool(servers) and all(server.startswith(LOOPBACK) for server in servers)


def resolv_conf(config: ContainerConfig, host_text: str, *, shares_host_network: bool, name_server: str = "") -> str:
    """The host's own, with --dns* laid over it.

    With `name_server`, the daemon's on a network with names, that is the only one: it asks the others (dns/).  Names
    without a dot are then asked as they are first, whatever is searched.

    A nameserver on the host's loopback (systemd-resolved's 127.0.0.53) cannot be reached from another network
    namespace and is left out; docker's fallback takes the place of an empty list.
    """
    if shares_host_network and not (config.dns or config.dns_search or config.dns_options):
        return host_text
    servers, search, options = list(config.dns), list(config.dns_search), list(config.dns_options)
    for line in host_text.splitlines():
        word, _, rest = line.partition("#")[0].strip().partition(" ")
        if word == "nameserver" and not config.dns:
            if shares_host_network or not rest.strip().startswith(LOOPBACK):
                servers.append(rest.strip())
        elif word in ("search", "domain") and not config.dns_search:
            search = rest.split()
        elif word == "options" and not config.dns_options:
            options += rest.split()
    if name_server:
        servers = [name_server]
        if not any(option.startswith("ndots:") for option in config.dns_options):
            options = [*(option for option in options if not option.startswith("ndots:")), "ndots:0"]
    lines = [f"nameserver {s}" for s in servers or FALLBACK_NAMESERVERS]
    if search and search != ["."]:
        lines.insert(0, f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"
