"""/etc/hosts and /etc/resolv.conf of a running container follow its networks, and leave alone what programs wrote."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from hawse.supervisor.core.model import ContainerConfig
from hawse.supervisor.runtime import etc_files

SUBNETS = (IPv4Network("10.1.0.0/24"), IPv4Network("10.2.0.0/24"))
CONFIG = ContainerConfig(domainname="example.org")
OWN = "box.example.org box"


def now(text: str, *addresses: str) -> str:
    return etc_files.hosts_now(text, CONFIG, "box", addresses, SUBNETS)


def test_hosts() -> None:
    made = etc_files.hosts(CONFIG, "box", ["10.1.0.2"])
    both = now(made, "10.1.0.2", "10.2.0.2")
    assert both == etc_files.hosts(CONFIG, "box", ["10.1.0.2", "10.2.0.2"]) == now(both, "10.1.0.2", "10.2.0.2")
    assert now(both, "10.1.0.2") == made
    own = f"127.0.1.1\t{OWN}\n10.1.0.3\tother\nnonsense\n"
    assert now(made + own, "10.2.0.2") == made.replace(f"10.1.0.2\t{OWN}\n", "") + own + f"10.2.0.2\t{OWN}\n"
    assert now("no newline", "10.1.0.2") == f"no newline\n10.1.0.2\t{OWN}\n"


PLAIN, BLUE, RED = "nameserver 192.0.2.1\n", "nameserver 10.1.0.1\noptions ndots:0\n", "nameserver 10.2.0.1\n"


@pytest.mark.parametrize(
    ("text", "wanted", "then"),
    [
        (PLAIN, BLUE, BLUE),
        (BLUE, RED, RED),
        (BLUE, PLAIN, PLAIN),
        (BLUE, BLUE, BLUE),
        ("# mine\nnameserver 192.0.2.7\n", BLUE, "# mine\nnameserver 192.0.2.7\n"),
        ("# mine\nnameserver 10.1.0.1\n", BLUE, "# mine\nnameserver 10.1.0.1\n"),
        (
            "# mine\nnameserver 10.1.0.1\nnameserver 192.0.2.7\n",
            RED,
            "# mine\nnameserver 10.1.0.1\nnameserver 192.0.2.7\n",
        ),
        ("nameserver\n", BLUE, "nameserver\n"),
    ],
)
def test_resolv_conf(text: str, wanted: str, then: str) -> None:
    assert etc_files.resolv_conf_now(text, wanted, PLAIN, ["10.1.0.1", "10.2.0.1"]) == then
