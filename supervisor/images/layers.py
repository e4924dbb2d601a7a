"""Layers on disk, and how directories are made and thrown away so that a crash leaves nothing half-done.

    ROOT/layers/<layer id>/    an unpacked layer, owned as its archive says (0-based: containers see it idmapped)
    ROOT/layers/new-*          one being made; renamed when it is whole
    ROOT/trash/*               what is being removed; renamed there first, so that nothing is ever half there

A layer without an image, `new-*` and the trash are what a crash may leave; `sweep` removes them at the start.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from hawse.supervisor.linux.flush import flush_directory, flush_tree
from hawse.supervisor.linux.topdir import spread_children
from hawse.supervisor.linux.tree import remove_tree

_UNFINISHED = "new-"


class Layers:
    """The directories.  Methods block; whoever calls them from the event loop uses a thread where it takes long."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "layers"
        self.trash = root / "trash"

    def make(self) -> None:
        """Nobody but root looks below: layers hold setuid programs and other people's secrets."""
        for directory in (self.directory, self.trash):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        spread_children(self.directory)

    def path(self, layer: str) -> Path:
        return self.directory / layer

    def begin(self) -> Path:
        """A new empty directory to make a layer in."""
        unfinished = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
        unfinished.mkdir(mode=0o755)
        unfinished.chmod(0o755)  # whatever the umask
        return unfinished

    def publish(self, unfinished: Path, layer: str) -> None:
        """Give it its name.  The same content may be there already: then that is kept, and `unfinished` stays behind."""
        try:
            os.rename(unfinished, self.path(layer))
        except OSError:
            if not self.path(layer).is_dir():
                raise

    def flush(self, unfinished: Path) -> None:
        """Wait until its files are on the disk."""
        flush_tree(unfinished)

    def flush_names(self) -> None:
        """Wait until it is on the disk which layers there are."""
        flush_directory(self.directory)

    def discard(self, path: Path) -> Path | None:
        """Take it out of the way at once; the answer is what `remove_tree` may then take its time for.  Gone: None."""
        rubbish = self.trash / secrets.token_hex(8)
        if not os.path.lexists(path):  # a read-only file system refuses a rename before it looks
            return None
        try:
            os.rename(path, rubbish)
        except FileNotFoundError:
            return None
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
            return path  # on a file system of its own: it goes where it is
        return rubbish

    def sweep(self, used: set[str]) -> None:
        """Remove what no image stands on and what was left half-done.  At the start only."""
        for entry in self.directory.iterdir():
            if entry.name not in used and (rubbish := self.discard(entry)):
                remove_tree(rubbish)
        for entry in self.trash.iterdir():
            remove_tree(entry)
