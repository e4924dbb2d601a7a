"""What a container's lines carry besides their text: the fields of its entries in systemd's journal, and what `logs --details`
shows.  The names and the tag are docker's (docs.docker.com/engine/logging/drivers/journald).  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from hawse.supervisor.core.errors import UserError
from hawse.supervisor.core.model import Container, ContainerConfig

DEFAULT_TAG = "{{.ID}}"
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")


def check_tag(template: str) -> None:
    """Raises UserError for what docker's templates have and these have not."""
    for action in _ACTION.findall(template):
        if action not in _VALUES:
            known = ", ".join(f"{{{{{name}}}}}" for name in _VALUES)
            raise UserError(f"log opt tag: {{{{{action}}}}} is not known", hint=f"known: {known}")


def details(config: ContainerConfig) -> dict[str, str]:
    """The labels and variables that --log-opt labels= and env= choose."""
    variables = dict(text.partition("=")[::2] for text in config.env)
    found: dict[str, str] = {}
    for names, values in (
        (config.log_details.get("labels"), config.labels),
        (config.log_details.get("env"), variables),
    ):
        found.update({name: values[name] for name in (names or "").split(",") if name in values})
    return found


def journal_fields(container: Container) -> dict[str, str] | None:
    """None for another driver.  The names are those at the start; an entry does not change with a later rename."""
    config = container.config
    if config.log_driver != "journald":
        return None
    template = config.log_details.get("tag") or DEFAULT_TAG
    tag = _ACTION.sub(lambda found: _VALUES[found[1]](container), template)
    return details(config) | {
        "CONTAINER_ID": container.id[:12],
        "CONTAINER_ID_FULL": container.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": tag,
        "SYSLOG_IDENTIFIER": tag,
        "IMAGE_NAME": config.image,
    }


_VALUES: Mapping[str, Callable[[Container], str]] = {
    ".ID": lambda c: c.id[:12],
    ".FullID": lambda c: c.id,
    ".Name": lambda c: c.name,
    ".FullName": lambda c: f"/{c.name}",
    ".ImageName": lambda c: c.config.image,
    ".ImageID": lambda c: (c.config.image_id or "").removeprefix("sha256:")[:12],
    ".ImageFullID": lambda c: c.config.image_id or "",
    ".DaemonName": lambda c: "hawse",
}
