"""How a layer says "what is below is gone": overlayfs's form, in which layers are kept, and the tar form of images.

overlayfs (filesystems/overlayfs.rst): a whiteout is a character device 0/0; a directory with the attribute `opaque` = y hides
what the layers below have in it.  The attribute's prefix is `user.` in mounts made by a user namespace (userxattr) and
`trusted.` elsewhere; layers are used by both, so they carry both.  Image tars (OCI image-spec, layer.md) have empty files
named `.wh.NAME` and `.wh..wh..opq` instead.
"""

from __future__ import annotations

import errno
import os
import stat

PREFIXES = ("trusted.overlay.", "user.overlay.")
TAR_PREFIX = ".wh."
TAR_OPAQUE = ".wh..wh..opq"
TAR_RESERVED = ".wh..wh."


def make_whiteout(name: str, directory: int) -> None:
    os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=directory)


def make_opaque(directory: int) -> None:
    for prefix in PREFIXES:
        os.setxattr(directory, f"{prefix}opaque", b"y")


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def overlay_attribute(file: int | str, name: str) -> bytes | None:
    """The attribute under either prefix; `file` is a descriptor, or a path whose symlinks are not followed."""
    for prefix in PREFIXES:
        try:
            if isinstance(file, int):
                return os.getxattr(file, prefix + name)
            return os.getxattr(file, prefix + name, follow_symlinks=False)
        except OSError as e:
            if e.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise
    return None
