"""The platform that a request names, such as `linux/amd64`.  Pure."""

from __future__ import annotations

ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
"""What kernels and people call them → the name that images have."""


def fits(asked: str, architecture: str) -> bool:
    """Tell whether something for Linux on `architecture` is what was asked for; no platform asks for nothing."""
    system, _, rest = asked.lower().partition("/")
    wanted = rest.partition("/")[0]
    return not asked or (system == "linux" and ARCHITECTURES.get(wanted, wanted) in ("", architecture))
