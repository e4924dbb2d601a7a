"""hawse's version, known without reading package metadata (which costs the CLI milliseconds)."""

from __future__ import annotations

VERSION = "0.1.0"
