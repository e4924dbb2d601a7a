"""Networks: who reaches whom, who gets which address, what the host has afterwards."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.snapshot import addresses, links
from hawse.cli.selftest.waiting import eventually

HTTPD = ("httpd", "-f", "-p", "80", "-h", "/www")


def fetch(address: str, patience: int = 30) -> tuple[str, ...]:
    """Fetch a page or give up after so many seconds (busybox's wget crashes with -T; timeout cannot end a PID 1)."""
    return ("sh", "-c", f"timeout {patience} wget -q -O - http://{address}/index.html; exit $?")


def test_neighbours_reach_each_other_and_strangers_do_not(lab: Lab) -> None:
    for name in ("blue", "red"):
        lab.hawse("network", "create", name)
    lab.hawse("run", "-d", "--name", "server", "--network", "blue", "busybox", *HTTPD)
    address = lab.address("server", "blue")
    eventually(lambda: lab.host.reaches(address, 80))
    assert lab.hawse("run", "--rm", "--network", "blue", "busybox", *fetch(address)).out == "hello from busybox\n"
    for stranger in ("red", "bridge"):
        refused = lab.hawse("run", "--rm", "--network", stranger, "busybox", *fetch(address, 2), check=False)
        assert refused.code and not refused.out, f"{stranger} reaches blue"
    lab.hawse("rm", "-f", "server")
    lab.hawse("network", "rm", "blue", "red")


def test_isolation_holds_in_both_directions_and_for_the_gateway(lab: Lab) -> None:
    """The other network's gateway is an address of the host; a port published on all addresses answers there too."""
    lab.hawse("network", "create", "--subnet", "10.20.0.0/24", "blue")
    lab.hawse("network", "create", "--subnet", "10.21.0.0/24", "red")
    lab.hawse("run", "-d", "--name", "in-blue", "--network", "blue", "busybox", *HTTPD)
    lab.hawse("run", "-d", "--name", "in-red", "--network", "red", "busybox", *HTTPD)
    eventually(lambda: lab.host.reaches("10.20.0.2", 80) and lab.host.reaches("10.21.0.2", 80))
    for source, own, target in (("in-blue", "10.20.0.2", "10.21.0.2"), ("in-red", "10.21.0.2", "10.20.0.2")):
        assert lab.hawse("exec", source, *fetch(own)).code == 0
        refused = lab.hawse("exec", source, *fetch(target, 2), check=False)
        assert refused.code and not refused.out
    lab.hawse("rm", "-f", "in-blue", "in-red")
    lab.hawse("network", "rm", "blue", "red")


@pytest.mark.parametrize("point", ["", "live.handed-over"])
def test_ports_and_the_way_out_move_to_another_network(lab: Lab, point: str) -> None:
    """As with docker, when a container is taken off the one that carried them; also when the daemon dies meanwhile."""
    for name in ("first", "second"):
        lab.hawse("network", "create", name)
    lab.hawse("network", "create", "--internal", "inner")
    lab.hawse("run", "-d", "--name", "web", "--network", "first", "-p", "8080:80", "busybox", *HTTPD)
    for name in ("inner", "second"):
        lab.hawse("network", "connect", name, "web")
    eventually(lambda: lab.client.get(HOST, 8080) == b"hello from busybox\n")
    if point:
        lab.daemon.kill9()
        lab.daemon.start(env={"HAWSE_FAULT": point})
    lab.hawse("network", "disconnect", "first", "web", check=not point)
    if point:
        lab.daemon.wait_dead()
        lab.daemon.start()
    eventually(lambda: lab.client.get(HOST, 8080) == b"hello from busybox\n")
    eventually(lambda: "default via" in lab.hawse("exec", "web", "ip", "route").out)
    assert lab.hawse("port", "web").out == "80/tcp -> 0.0.0.0:8080\n"
    eventually(lambda: set(lab.inspect("web")["NetworkSettings"]["Networks"]) == {"inner", "second"})
    lab.daemon.kill9()
    lab.daemon.start()
    eventually(lambda: lab.client.get(HOST, 8080) == b"hello from busybox\n")
    eventually(lambda: lab.hawse("audit"))
    lab.hawse("network", "disconnect", "second", "web")
    assert not lab.client.reaches(HOST, 8080), "an internal network carries none"
    lab.hawse("network", "connect", "first", "web")
    eventually(lambda: lab.client.get(HOST, 8080) == b"hello from busybox\n")
    lab.hawse("rm", "-f", "web")
    lab.hawse("network", "rm", "first", "second", "inner")


def test_none_has_only_loopback(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "--network", "none", "busybox", "ip", "-o", "addr").out
    assert {line.split()[1] for line in shown.splitlines()} == {"lo"}
    assert "127.0.0.1/8" in shown


def test_host_is_the_hosts_network(lab: Lab) -> None:
    shown = lab.hawse("run", "--rm", "--network", "host", "busybox", "ip", "-o", "addr").out
    assert "cli0" in shown and f"{HOST}/24" in shown


def test_container_shares_anothers_network(lab: Lab) -> None:
    lab.hawse("run", "-d", "--name", "web", "busybox", *HTTPD)
    address = lab.address("web", "bridge")
    eventually(lambda: lab.host.reaches(address, 80))
    page = lab.hawse("run", "--rm", "--network", "container:web", "busybox", *fetch("127.0.0.1"))
    assert page.out == "hello from busybox\n"
    lab.hawse("rm", "-f", "web")


def test_container_shares_anothers_files(lab: Lab) -> None:
    """Hosts, hostname and resolv.conf are the very same files, as docker's: each sees what the other writes."""
    lab.hawse("run", "-d", "--name", "web", "--hostname", "web.example", "busybox", "sleep", "1000")
    mate = ("run", "-d", "--name", "mate", "--network", "container:web", "busybox", "sleep", "1000")
    lab.hawse(*mate)
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        for writer, reader in (("web", "mate"), ("mate", "web")):
            lab.hawse("exec", writer, "sh", "-c", f"echo '# {writer}' >> {path}")
            assert f"# {writer}\n" in lab.hawse("exec", reader, "cat", path).out
        assert lab.hawse("exec", "mate", "stat", "-c", "%u:%g %a", path).out == "0:0 644\n"
    assert lab.hawse("exec", "mate", "sh", "-c", "hostname; echo $HOSTNAME").out == "web.example\n" * 2
    keys = ("HostsPath", "HostnamePath", "ResolvConfPath")
    assert [lab.inspect("mate")[key] for key in keys] == [lab.inspect("web")[key] for key in keys]
    third = lab.hawse("run", "--rm", "--network", "container:mate", "busybox", "cat", "/etc/hosts").out
    assert "# mate\n" in third, "who joins a container that has joined another shares that one's files"
    lab.hawse("rm", "-f", "web")
    assert "# web\n" in lab.hawse("exec", "mate", "cat", "/etc/hosts").out, "they live as long as somebody has them"
    orphan = lab.hawse("run", "--rm", "--network", "container:mate", "busybox", "true", check=False)
    assert orphan.code == 125 and "mate" in orphan.err and "removed" in orphan.err
    refused = lab.hawse("restart", "-t", "0", "mate", check=False)
    assert refused.code == 1 and "No such container" in refused.err
    lab.hawse("rm", "-f", "mate")


def test_the_inside_is_set_up(lab: Lab) -> None:
    shown = lab.hawse(
        "run", "--rm", "--name", "in", "busybox", "sh", "-c", "ip -o addr show eth0; ip route; cat /etc/hosts"
    ).out
    address = re.search(r"inet (\S+)/(\d+)", shown)
    assert address
    network = ipaddress.ip_interface(f"{address[1]}/{address[2]}").network
    bridge = json.loads(lab.hawse("network", "inspect", "bridge").out)[0]["IPAM"]["Config"][0]
    assert str(network) == bridge["Subnet"]
    assert f"default via {bridge['Gateway']} dev eth0" in shown
    assert re.search(rf"^{re.escape(address[1])}\s+[0-9a-f]{{12}}$", shown, re.MULTILINE), (
        "its own name is in /etc/hosts"
    )


def test_resolv_conf_is_provided(lab: Lab) -> None:
    assert "nameserver" in lab.hawse("run", "--rm", "busybox", "cat", "/etc/resolv.conf").out


def test_the_default_network_is_hawse0_and_listed_beside_host_and_none(lab: Lab) -> None:
    bridge = f"hawse0{lab.instance}"
    listed = lab.hawse("network", "ls").out
    assert {"bridge", "host", "none"} <= set(listed.split())
    found = [line.split()[0] for line in links(lab.world) if " bridge " in line]
    assert any(name.startswith("hawse0") or lab.instance in name for name in found), (found, bridge)


def test_ip_is_given_when_asked_for(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.30.0.0/24", "fixed")
    said = lab.hawse(
        "run", "--rm", "--network", "fixed", "--ip", "10.30.0.77", "busybox", "ip", "-o", "addr", "show", "eth0"
    ).out
    assert "10.30.0.77/24" in said
    lab.hawse("network", "rm", "fixed")


def test_an_address_range(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.32.0.0/24", "--ip-range", "10.32.0.64/31", "narrow")
    assert (
        json.loads(lab.hawse("network", "inspect", "narrow").out)[0]["IPAM"]["Config"][0]["IPRange"] == "10.32.0.64/31"
    )
    show = ("ip", "-o", "-4", "addr", "show", "eth0")
    for name in ("one", "two"):
        lab.hawse("run", "-d", "--name", name, "--network", "narrow", "busybox", "sleep", "100")
    found = {lab.hawse("exec", name, *show).out.split()[3] for name in ("one", "two")}
    assert found == {"10.32.0.64/24", "10.32.0.65/24"}
    full = lab.hawse("run", "--rm", "--network", "narrow", "busybox", *show, check=False)
    assert full.code == 125 and "no available IPv4 addresses" in full.err
    asked = lab.hawse("run", "--rm", "--network", "narrow", "--ip", "10.32.0.9", "busybox", *show).out
    assert "10.32.0.9/24" in asked, "an address that is asked for may be anywhere in the subnet"
    lab.hawse("rm", "-f", "one", "two")
    lab.hawse("network", "rm", "narrow")
    for flags in (("--subnet", "10.32.0.0/24", "--ip-range", "10.33.0.0/25"), ("--ip-range", "10.33.0.0/25")):
        assert "ip-range" in lab.hawse("network", "create", *flags, "wrong", check=False).err


def test_options_of_create_and_connect(lab: Lab) -> None:
    """--internal, --opt and --label of a network; --ip, --mac-address, --alias and --force of connect and disconnect."""
    mtu = ("--opt", "com.docker.network.driver.mtu=1400")
    lab.hawse("network", "create", "--internal", "--subnet", "10.34.0.0/24", "--label", "tier=db", *mtu, "inner")
    assert lab.hawse("network", "ls", "-q", "--no-trunc", "--filter", "label=tier=db").out.strip() == (
        lab.hawse("network", "inspect", "-f", "{{.Id}}", "inner").out.strip()
    )
    lab.hawse("network", "create", "outer")
    lab.hawse("run", "-d", "--name", "box", "--network", "outer", "busybox", "sleep", "1000")
    lab.hawse("run", "-d", "--name", "peer", "--network", "inner", "busybox", "sleep", "1000")
    asked = ("--ip", "10.34.0.77", "--mac-address", "02:42:0a:22:00:4d", "--alias", "store")
    lab.hawse("network", "connect", *asked, "inner", "box")
    shown = lab.hawse("exec", "box", "ip", "addr", "show", "eth1").out
    assert "inet 10.34.0.77/24" in shown and "link/ether 02:42:0a:22:00:4d" in shown and "mtu 1400" in shown
    assert "default" not in lab.hawse("exec", "peer", "ip", "route").out, "nothing goes out of an internal network"
    assert "10.34.0.77" in lab.hawse("exec", "peer", "nslookup", "store", check=False).out
    lab.hawse("network", "disconnect", "inner", "box")
    again = lab.hawse("network", "disconnect", "inner", "box", check=False)
    assert again.code == 1 and "is not connected to network inner" in again.err
    lab.hawse("network", "disconnect", "--force", "inner", "box")
    assert "eth1" not in lab.hawse("exec", "box", "ip", "link").out
    lab.hawse("rm", "-f", "box", "peer")
    lab.hawse("network", "rm", "inner", "outer")
    lab.hawse("network", "rm", "--force", "inner")


def test_an_address_is_kept_while_the_container_is_stopped(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.31.0.0/24", "kept")
    lab.hawse("run", "-d", "--name", "first", "--network", "kept", "busybox", "sleep", "100")
    address = lab.address("first", "kept")
    lab.hawse("stop", "-t", "0", "first")
    lab.hawse("run", "-d", "--name", "second", "--network", "kept", "busybox", "sleep", "100")
    assert lab.address("second", "kept") != address
    lab.hawse("start", "first")
    assert lab.address("first", "kept") == address
    lab.hawse("rm", "-f", "first", "second")
    lab.hawse("network", "rm", "kept")


def test_the_subnets_gateway_is_the_host_part_or_the_first_address(lab: Lab) -> None:
    for subnet, gateway, shown in (
        ("10.40.0.9/24", "", "10.40.0.9/24"),
        ("10.41.0.0/24", "", "10.41.0.1/24"),
        ("10.42.0.0/24", "10.42.0.254", "10.42.0.254/24"),
    ):
        flags = ["--gateway", gateway] if gateway else []
        lab.hawse("network", "create", "--subnet", subnet, *flags, "gw")
        assert f"gw {shown}" in addresses(lab.world)
        lab.hawse("run", "--rm", "--network", "gw", "busybox", "true")
        lab.hawse("network", "rm", "gw")


def test_a_network_in_use_is_not_removed(lab: Lab) -> None:
    lab.hawse("network", "create", "used")
    lab.hawse("run", "-d", "--name", "user", "--network", "used", "busybox", "sleep", "100")
    refused = lab.hawse("network", "rm", "used", check=False)
    assert refused.code == 1
    assert "has active endpoints" in refused.err and "user" in refused.err
    lab.hawse("rm", "-f", "user")
    lab.hawse("network", "rm", "used")


def test_a_container_whose_network_was_made_anew_gets_an_address_of_the_new_one(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.71.0.0/24", "anew")
    lab.hawse("create", "--name", "waits", "--network", "anew", "busybox", "sleep", "100")
    lab.hawse("network", "rm", "anew")
    missing = lab.hawse("start", "waits", check=False)
    assert missing.code == 1 and "network anew not found" in missing.err
    lab.hawse("network", "create", "--subnet", "10.72.0.0/24", "anew")
    lab.hawse("start", "waits")
    assert lab.address("waits", "anew") == "10.72.0.2"
    assert "inet 10.72.0.2/24" in lab.hawse("exec", "waits", "ip", "addr").out
    assert "10.72.0.2\t" in lab.hawse("exec", "waits", "cat", "/etc/hosts").out
    lab.hawse("rm", "-f", "waits")
    lab.hawse("network", "rm", "anew")


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_built_in_networks_stay(lab: Lab, name: str) -> None:
    refused = lab.hawse("network", "rm", name, check=False)
    assert refused.code == 1
    assert "pre-defined network and cannot be removed" in refused.err


def test_network_inspect_shows_who_is_in_it(lab: Lab) -> None:
    lab.hawse("network", "create", "--subnet", "10.50.0.0/24", "shown")
    identifier = lab.hawse("run", "-d", "--name", "inside", "--network", "shown", "busybox", "sleep", "100").out.strip()
    (network,) = json.loads(lab.hawse("network", "inspect", "shown").out)
    assert network["IPAM"]["Config"] == [{"Subnet": "10.50.0.0/24", "Gateway": "10.50.0.1"}]
    assert network["Containers"][identifier]["Name"] == "inside"
    assert network["Containers"][identifier]["IPv4Address"] == "10.50.0.2/24"
    lab.hawse("rm", "-f", "inside")
    lab.hawse("network", "rm", "shown")


def test_a_long_network_name_still_gets_a_bridge(lab: Lab) -> None:
    """IFNAMSIZ is 16 with the zero; docker hides this by naming bridges after ids."""
    name = "a-network-with-a-rather-long-name"
    before = links(lab.world)
    lab.hawse("network", "create", name)
    (bridge,) = (line.split()[0] for line in (links(lab.world) - before))
    assert len(bridge) <= 15
    lab.hawse("run", "--rm", "--network", name, "busybox", "true")
    lab.hawse("network", "rm", name)
