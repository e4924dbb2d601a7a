"""Archives as a container's side of `cp` and `export` sends them, made in the test."""

from __future__ import annotations

import base64
import io
import json
import tarfile

from tests.unit.cli.daemon import CliDaemon, Request

DIRECTORY, LINK = 1 << 31, 1 << 27


def tar(*members: tuple[str, str, bytes]) -> bytes:
    """(name, kind, content or target)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}[kind]
            info.mode = 0o755 if kind == "d" else 0o640
            if kind == "f":
                info.size = len(content)
            else:
                info.linkname = content.decode()
            archive.addfile(info, io.BytesIO(content) if kind == "f" else None)
    return raw.getvalue()


TREE = tar(("etc/", "d", b""), ("etc/a", "f", b"A"), ("etc/sub/", "d", b""), ("etc/sub/b", "f", b"B" * 100_000))
FILE = tar(("a", "f", b"A"))


class Inside:
    """The container's side of the archive endpoint."""

    def __init__(self, daemon: CliDaemon) -> None:
        self.stats = {"/etc": (DIRECTORY | 0o755, ""), "/a": (0o644, ""), "/link": (LINK, "/etc")}
        self.archives = {"/etc": TREE, "/a": FILE}
        self.put: list[tuple[str, bytes]] = []
        daemon.routes["(HEAD|GET|PUT) /containers/web/archive"] = self._serve

    def _serve(self, request: Request) -> None:
        path = request.query["path"]
        if request.method == "PUT":
            self.put.append((path, request.body))
            request.answer(None)
            return
        if path.endswith("/"):  # what a link leads to
            path = {"/link/": "/etc"}.get(path, path.rstrip("/") or "/")
        if path not in self.stats:
            request.answer(None if request.method == "HEAD" else {"message": f"Could not find the file {path}"}, 404)
            return
        mode, target = self.stats[path]
        stat = base64.b64encode(json.dumps({"name": "x", "mode": mode, "linkTarget": target}).encode()).decode()
        body = self.archives.get(path, b"") if request.method == "GET" else None
        request.answer(body, X_Docker_Container_Path_Stat=stat)
