"""docs/docker-api.md, made from the route table so that it cannot go stale.

python -m hawse.supervisor.api.document > docs/docker-api.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from hawse.supervisor.api.routes import ROUTES, Route
from hawse.supervisor.api.wire import API_VERSION, MIN_API_VERSION, NATIVE

HEAD = f"""# What hawse serves of the Docker Engine API

Made by `python -m hawse.supervisor.api.document` from `supervisor/api/routes.py`; do not edit.

API {API_VERSION}, and every version from {MIN_API_VERSION} on that a client asks for (`/v1.NN` before a path is optional).
"""


def document() -> str:
    served = [r for r in ROUTES if not r.absent and not r.path.startswith(NATIVE)]
    native = [r for r in ROUTES if r.path.startswith(NATIVE)]
    absent = [r for r in ROUTES if r.absent]
    lines = [
        HEAD,
        "## Docker's endpoints",
        "",
        "| endpoint | served | what it does; what is missing |",
        "|---|---|---|",
    ]
    lines += (f"| `{r.method} {r.path}` | {'partly' if r.lacks else 'yes'} | {_told(r)} |" for r in served)
    for status in sorted({r.status for r in absent}):
        lines += ["", f"## Answered with {status}", "", "| endpoint | why |", "|---|---|"]
        lines += _refusals([r for r in absent if r.status == status])
    lines += ["", f"## What Docker lacks: `{NATIVE}`", "", "| endpoint | what it does |", "|---|---|"]
    lines += (f"| `{r.method} {r.path}` | {_told(r)} |" for r in native)
    return "\n".join(lines) + "\n"


def _told(route: Route) -> str:
    """The first paragraph of the handler's docstring, behind the endpoint that it begins with."""
    paragraph = " ".join((route.handle.__doc__ or "").split("\n\n")[0].split())
    _, separator, does = paragraph.partition(": ")
    text = does if separator else ""
    return " ".join(filter(None, (text, f"Not: {route.lacks}." if route.lacks else ""))).replace("|", "\\|")


def _refusals(absent: list[Route]) -> Iterator[str]:
    """Give one line for each reason."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for route in absent:
        reasons.setdefault(route.absent, {}).setdefault(route.path, []).append(route.method)
    for why, paths in reasons.items():
        yield f"| {_listed(paths)} | {why} |"


def _listed(paths: dict[str, list[str]]) -> str:
    return ", ".join(f"`{' '.join(methods)} {path}`" for path, methods in paths.items())


if __name__ == "__main__":
    sys.stdout.write(document())
