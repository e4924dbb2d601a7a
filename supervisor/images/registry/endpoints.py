"""Where a registry is: which URLs are tried for its name, mirrors first, and which hosts need no TLS.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from hawse.supervisor.images.registry.reference import DEFAULT_DOMAIN

DEFAULT_HOST = "registry-1.docker.io"
"""Where Docker's own registry is; its name is older than this host."""
LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the configuration says about registries."""

    mirrors: tuple[str, ...] = ()  # of Docker's own: URLs
    insecure: tuple[str, ...] = ()  # host[:port], or a subnet
    certificates: Path = Path("/etc/docker/certs.d")

    def is_insecure(self, host: str) -> bool:
        """Tell whether host[:port] needs no TLS that proves who it is: the loopback never does, as in docker."""
        name = _without_port(host)
        return any(
            entry in (host, name) if "/" not in entry else _lies_in(name, entry)
            for entry in (*LOOPBACK, *self.insecure)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place that a registry's images are had from.

    The first of its URLs that answers is used; credentials for the registry are not for its mirrors.
    """

    registry: str
    urls: tuple[str, ...]
    is_mirror: bool = False


def endpoints(domain: str, access: Access, *, pushing: bool = False) -> Iterator[Endpoint]:
    """Yield the places to try for a registry, in this order.  Nothing is pushed to mirrors."""
    if domain == DEFAULT_DOMAIN:
        for mirror in access.mirrors if not pushing else ():
            yield Endpoint(registry=mirror.partition("://")[2].rstrip("/"), urls=(mirror.rstrip("/"),), is_mirror=True)
        yield Endpoint(registry=domain, urls=(f"https://{DEFAULT_HOST}",))
    else:
        schemes = ("https", "http") if access.is_insecure(domain) else ("https",)
        yield Endpoint(registry=domain, urls=tuple(f"{scheme}://{domain}" for scheme in schemes))


def domain_of(server: str) -> str:
    """The registry that an AuthConfig's serveraddress means; Docker's own has several, the oldest an URL with a path."""
    host = server.rpartition("://")[2].partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", "index.docker.io", DEFAULT_HOST, DEFAULT_DOMAIN) else host


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _lies_in(name: str, subnet: str) -> bool:
    try:
        return ip_address(name) in ip_network(subnet, strict=False)
    except ValueError:
        return False  # it is a name
