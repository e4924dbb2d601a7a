"""The record of what was put in place, so that another install knows its own files and an uninstall takes no others.

It is written before the first change, with all contents that a file may have meanwhile, and again after the last one: an
install that was killed anywhere is completed by the next, and whatever it made is removed by an uninstall.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field

from hawse.cli.errors import Failure

MANIFEST = "/usr/local/share/hawse/installed.json"


@dataclass(slots=True, kw_only=True)
class Manifest:
    """`marks` are of every content of ours that a path may have; a `group` that was there before is not ours."""

    marks: dict[str, list[str]] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    group: bool = False
    complete: bool = False


def load(path: str = MANIFEST) -> Manifest | None:
    """None where nothing was installed.  Raises Failure for a file that is not a manifest."""
    try:
        with open(path, encoding="utf-8") as file:
            return Manifest(**json.load(file))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as e:
        raise Failure(f"{path}: not what `hawse system install` wrote ({e}); move it away, then again") from None


def save(manifest: Manifest, path: str = MANIFEST) -> None:
    """Atomically, and on the disk before anything follows."""
    partial = path + ".new"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(partial, path)
