"""What a pull tells, for people: a bar for each layer on a terminal, one line for each phase elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    Tell = Callable[[dict[str, Any]], None]


@contextmanager
def shown(out: TextIO, *, quiet: bool = False) -> Iterator[Tell]:
    """Yield what to call with each line of the daemon's."""
    if quiet:
        yield lambda _: None
        return
    if not out.isatty():
        yield lambda line: _plain(line, out)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.fields[layer]}: {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(file=out)) as bars:
        layers: dict[str, Any] = {}

        def tell(line: dict[str, Any]) -> None:
            layer, detail = line.get("id", ""), line.get("progressDetail")
            if not layer or detail is None:
                bars.console.print(_text(line), highlight=False, markup=False)
                return
            if layer not in layers:
                layers[layer] = bars.add_task("", layer=layer, total=None)
            known = {"completed": detail["current"], "total": detail["total"]} if detail.get("total") else {}
            bars.update(layers[layer], description=f"{line['status']:<18}", **known)

        yield tell


def _plain(line: dict[str, Any], out: TextIO) -> None:
    """Growth is for terminals: as with docker, only the phases are lines."""
    if not (line.get("progressDetail") or {}).get("total"):
        print(_text(line), file=out, flush=True)


def _text(line: dict[str, Any]) -> str:
    return f"{line['id']}: {line['status']}" if line.get("id") else str(line["status"])
