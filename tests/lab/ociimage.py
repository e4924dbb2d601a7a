"""Images as registries have them, made by hand: an OCI layout in a directory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"


def layer(files: Mapping[str, bytes]) -> bytes:
    """A plain tar with these files, at the time 1."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o755, 1
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def layout(place: Path, layers: Sequence[bytes], tag: str = "latest", **settings: Any) -> str:
    """Write it; the layers are plain tars and are compressed here.  The digest of its manifest."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    config = {
        "created": "2026-01-02T03:04:05.678Z",
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2026-01-02T03:04:05Z", "created_by": f"layer {n}"} for n, _ in enumerate(layers)],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(gzip.compress(data, mtime=0), "layer.v1.tar+gzip") for data in layers],
    }
    described = put(json.dumps(manifest).encode(), "manifest.v1+json")
    named = {**described, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(described["digest"])
