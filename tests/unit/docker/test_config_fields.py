"""What a user can ask of a container: each flag of `run` is sent, each field of the record read, shown again and used."""

from __future__ import annotations

import ast

import msgspec

from hawse.cli.flags.container_flags import CONTAINER
from hawse.supervisor.core.model import ContainerConfig
from tests.unit.import_graph import MODULES, parsed

FIELDS = {field.name for field in msgspec.structs.fields(ContainerConfig)}
FOUND_OUT = {"image_id"}
"""By the daemon, from what was asked for."""
SHOWN_AS_GIVEN = {"log_max_files", "log_max_size", "log_details"}
"""By `log_options`, which is for nothing else: as they were asked for, not as they were read."""
USERS = ("runtime", "lifecycle", "network", "hooks", "health", "dns", "core", "engine")


def attributes(*modules: str) -> set[str]:
    """Return the names that are read of anything in modules, or in rooms, of these names."""
    return {
        node.attr
        for name, path in MODULES.items()
        if name.startswith(modules)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
    }


def test_every_flag_is_sent() -> None:
    """Hidden ones are there to be accepted."""
    read = attributes("hawse.cli.flags", "hawse.cli.verbs.run")
    forgotten = {flag.name for flag in CONTAINER if not flag.hidden and flag.name.replace("-", "_") not in read}
    assert not forgotten, f"cli/flags/container_body.py does not send {forgotten}"


def test_every_field_is_asked_for() -> None:
    decode = parsed(MODULES["hawse.supervisor.docker.decode"])
    calls = [node for node in ast.walk(decode) if isinstance(node, ast.Call)]
    made = {word.arg for call in calls if ast.unparse(call.func) == "ContainerConfig" for word in call.keywords}
    assert made == FIELDS - FOUND_OUT, f"supervisor/docker/decode.py does not read {FIELDS - FOUND_OUT - made}"


def test_every_field_is_shown() -> None:
    shown = attributes("hawse.supervisor.docker.view_host", "hawse.supervisor.docker.view_container")
    assert not shown & SHOWN_AS_GIVEN
    forgotten = FIELDS - shown - SHOWN_AS_GIVEN
    assert not forgotten, f"supervisor/docker/view_host.py and view_container.py do not show {forgotten}"


def test_every_field_has_an_effect() -> None:
    forgotten = FIELDS - {"log_options"} - attributes("hawse.handlers", *(f"hawse.supervisor.{room}" for room in USERS))
    assert not forgotten, f"nothing in supervisor/ does what {forgotten} asks for"
