"""Where ext4 puts the directories that are made in a directory.

Near to their parent, usually; and after a tree was removed there, each file that is made in its place costs a walk over the
inodes that were just freed: some 600 µs instead of 12.  Below a directory with the flag FS_TOPDIR_FL (chattr(1), `T`) ext4
begins each child in another part of the disk.  Of file systems only ext2 to ext4 know the flag.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x8008_6601, 0x4008_6602  # ioctl_iflags(2)
FS_TOPDIR_FL = 0x0002_0000


def spread_children(directory: Path) -> None:
    """Have the file system spread what is made in it, where it can: no other differs but in speed."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            (flags,) = struct.unpack("=I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(4)))
            if not flags & FS_TOPDIR_FL:
                fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=I", flags | FS_TOPDIR_FL))
    finally:
        os.close(fd)
