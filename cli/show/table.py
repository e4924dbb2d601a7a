"""Lists of things: aligned columns as Docker's, `--format` (table, json, a template), colour on a terminal only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = Mapping[str, Any]  # template field → text, or a function of a template's arguments

PADDING = 3
MINIMUM = 10
_SGR = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def show(
    rows: Iterable[Row],
    headings: Mapping[str, str],
    columns: Sequence[str],
    format: str = "",
    paint: Callable[[str, str], str] | None = None,
) -> None:
    """Print `rows` by `--format`.  `columns` are the fields of the plain table, `headings` what heads each field.

    `paint(field, text)` names the colour of a cell of the plain table.
    """
    if format == "json":
        for row in rows:
            print(json.dumps(plain(row), ensure_ascii=False, sort_keys=True, separators=(",", ":")))
        return
    if format in ("", "table"):
        colour = paint if coloured() else None
        cells = [[_text(row[column]) for column in columns] for row in rows]
        _print_aligned([[headings[column] for column in columns], *cells], columns, colour)
        return
    from hawse.cli.show.template import Template

    is_table = format.startswith("table ")
    text = format.removeprefix("table ").strip() if is_table else format
    template = Template(text.replace("\\t", "\t").replace("\\n", "\n"))
    lines = [template.render(row) for row in rows]
    if is_table:
        lines.insert(0, template.render({**headings, "Label": lambda name: name.rpartition(".")[2]}))
        _print_aligned([line.split("\t") for line in lines], (), None)
    else:
        for line in lines:
            print(line)


def aligned(rows: Sequence[Sequence[str]], minimum: int = MINIMUM) -> list[str]:
    """Lines in which the columns stand under each other; the last column is not padded."""
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row):
            if index == len(widths):
                widths.append(minimum)
            if index < len(row) - 1:
                widths[index] = max(widths[index], len(cell) + PADDING)
    return [
        "".join(cell if index == len(row) - 1 else cell.ljust(widths[index]) for index, cell in enumerate(row))
        for row in rows
    ]


def plain(row: Row) -> dict[str, Any]:
    """A row as `{{json .}}` shows it: without the fields that are functions."""
    return {field: value for field, value in row.items() if not callable(value)}


def coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    return f"\033[{_SGR[colour]}m{text}\033[0m" if colour else text


def _print_aligned(rows: list[list[str]], columns: Sequence[str], paint: Callable[[str, str], str] | None) -> None:
    lines = aligned(rows)
    if paint is None:
        print("\n".join(lines))
        return
    print(painted(lines[0], "bold"))
    for row, line in zip(rows[1:], lines[1:], strict=True):
        begin = 0
        done = ""
        for cell, column in zip(row, columns, strict=True):
            at = line.index(cell, begin)
            done += line[begin:at] + painted(cell, paint(column, cell))
            begin = at + len(cell)
        print(done + line[begin:])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
