"""The text of the three files every container is given: /etc/hosts, /etc/hostname and /etc/resolv.conf.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hawse.supervisor.model import ContainerConfig

FALLBACK_NAMESERVERS = ("8.8.8.8", "8.8.4.4")  # docker's, when the host only has resolvers on its loopback


def hosts(config: ContainerConfig, hostname: str, addresses: Iterable[str], host_gateway: str = "") -> str:
    """localhost, --add-host entries (`host-gateway` is the gateway's address), then the container itself."""
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
    own = f"{hostname}.{config.domainname} {hostname}" if config.domainname else hostname
    lines += [f"{address}\t{own}" for address in addresses]
    return "\n".join(lines) + "\n"


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
            if shares_host_network or not rest.strip().startswith(("127.", "::1")):
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
