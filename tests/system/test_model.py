"""A model of what users are shown, against a real daemon, with its death and damage to its network as ordinary steps.

Hypothesis chooses the steps; the model predicts which containers there are, in which state, with which exit code, address and
published port, and whether a client reaches them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hawse.cli.selftest.lab import HOST, Lab
from hawse.cli.selftest.story import anomalies
from hawse.cli.selftest.waiting import eventually

NAMES = ("ann", "bob", "cid")
PORT = {name: 19_000 + i for i, name in enumerate(NAMES)}


@dataclass
class Expected:
    state: str = "created"
    code: int = 0
    address: str = ""


class Model(RuleBasedStateMachine):
    lab: Lab

    def __init__(self) -> None:
        super().__init__()
        self.containers: dict[str, Expected] = {}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        status, answer = self.lab.daemon.request(method, path, body)
        return status, json.loads(answer or b"null")

    @rule(name=st.sampled_from(NAMES))
    def create(self, name: str) -> None:
        host = {"PortBindings": {"80/tcp": [{"HostPort": str(PORT[name])}]}}
        body = {"Image": "busybox", "Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"], "HostConfig": host}
        status, _ = self.ask("POST", f"/containers/create?name={name}", body)
        assert status == (409 if name in self.containers else 201)
        self.containers.setdefault(name, Expected())

    @rule(name=st.sampled_from(NAMES))
    def start(self, name: str) -> None:
        expected = self.containers.get(name)
        status, _ = self.ask("POST", f"/containers/{name}/start")
        if expected is None:
            assert status == 404
            return
        assert status == (304 if expected.state == "running" else 204)
        expected.state, expected.code = "running", 0
        address = self.shown(name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        assert address and expected.address in ("", address), "an address is kept as long as its container"
        expected.address = address

    @rule(name=st.sampled_from(NAMES))
    def kill(self, name: str) -> None:
        expected = self.containers.get(name)
        status, _ = self.ask("POST", f"/containers/{name}/kill")
        if expected is None or expected.state != "running":
            assert status == (404 if expected is None else 409)
            return
        assert status == 204
        _, answer = self.ask("POST", f"/containers/{name}/wait")
        assert answer["StatusCode"] == 137
        expected.state, expected.code = "exited", 137

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        expected = self.containers.get(name)
        status, _ = self.ask("DELETE", f"/containers/{name}")
        if expected is None or expected.state == "running":
            assert status == (404 if expected is None else 409)
            return
        assert status == 204
        del self.containers[name]

    @rule()
    def crash(self) -> None:
        self.lab.daemon.kill9()
        self.lab.daemon.start()

    @rule(name=st.sampled_from(NAMES))
    def crash_while_one_ends(self, name: str) -> None:
        expected = self.containers.get(name)
        if expected is None or expected.state != "running":
            return
        assert self.ask("POST", f"/containers/{name}/kill")[0] == 204
        self.crash()
        self.ask("POST", f"/containers/{name}/wait")
        expected.state, expected.code = "exited", 137

    @precondition(lambda self: any(c.state == "running" for c in self.containers.values()))
    @rule(damage=st.sampled_from(("flush", "cable", "bridge")))
    def damage(self, damage: str) -> None:
        running = next(self.shown(name)["Id"] for name, c in self.containers.items() if c.state == "running")
        links = json.loads(self.lab.run(["ip", "-j", "link"]).out)
        cable = next(link for link in links if running in link.get("ifalias", ""))  # others may be going by themselves
        device = cable["ifname"] if damage == "cable" else cable["master"]
        self.lab.run(["nft", "flush", "ruleset"] if damage == "flush" else ["ip", "link", "del", device])

    def shown(self, name: str) -> dict[str, Any]:
        status, answer = self.ask("GET", f"/containers/{name}/json")
        assert status == 200
        assert isinstance(answer, dict)
        return answer

    @invariant()
    def lists_agree(self) -> None:
        _, listed = self.ask("GET", "/containers/json?all=1")
        assert {c["Names"][0][1:]: c["State"] for c in listed} == {n: c.state for n, c in self.containers.items()}

    @invariant()
    def details_agree(self) -> None:
        for name, expected in self.containers.items():
            state = self.shown(name)["State"]
            assert (state["Status"], state["ExitCode"]) == (expected.state, expected.code)
        addresses = [c.address for c in self.containers.values() if c.address]
        assert len(addresses) == len(set(addresses))

    @invariant()
    def ports_agree(self) -> None:
        for name in NAMES:
            running = name in self.containers and self.containers[name].state == "running"
            eventually(self._reach(name, running))

    def _reach(self, name: str, wanted: bool) -> Callable[[], bool]:
        return lambda: self.lab.client.reaches(HOST, PORT[name], timeout=1) == wanted

    def teardown(self) -> None:
        for name in NAMES:
            assert self.ask("DELETE", f"/containers/{name}?force=1")[0] in (204, 404)
        eventually(lambda: self.lab.hawse("audit"))
        assert not anomalies(self.lab.root / "hawse.db")


@pytest.mark.slow("hundreds of commands, one after the other, and restarts of the daemon")
@pytest.mark.timeout(300)
def test_users_are_shown_what_is_so(lab: Lab) -> None:
    class Here(Model):
        pass

    Here.lab = lab
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=8,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
