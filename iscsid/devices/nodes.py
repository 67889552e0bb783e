"""Nodes under /dev: their numbers, and marks by which the node of a removed disk is known.

A process may keep a disk open that has been removed. Its node is then gone from /dev and the disk
from /sys: nothing shows any more whether it was a disk of iscsi_tcp, and its number may be another
disk's. So each node gets an extended attribute while its disk is there. The attribute goes with the
node, and can be read by way of the descriptor as long as the node is open.

It names the device by its path in /sys, and the node itself: a copy of a node, which may have
copies of its attributes, is no mark. Touches nodes under /dev and /sys, and opens no node.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_MARK = "trusted.iscsid"
"""Only root can read or write attributes whose names begin so."""


def number_at(path: str) -> str | None:
    """Return the number (``8:0``) of the block device at a path, ``None`` if it is none."""
    if not path.startswith("/dev/"):
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return number_of(status.st_rdev) if stat.S_ISBLK(status.st_mode) else None


def number_of(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def mark(directory: Path, node: str) -> None:
    """Mark the node of the device at ``directory`` in /sys.

    A node that cannot be marked, such as one that has just gone, stays without a mark.
    """
    with suppress(OSError):
        before = os.stat(directory).st_ino
        number = (directory / "dev").read_text().strip()
        status = os.lstat(node)
        if number_of(status.st_rdev) != number or mark_of(Path(node)) is not None:
            return
        # A directory's inode number is not used again: the node was this device's, not that of
        # another which has taken over name and number.
        if os.stat(directory).st_ino == before:
            os.setxattr(node, _MARK, f"{_identity(status)} {directory}".encode())


def mark_of(node: Path) -> str | None:
    """Return the path in /sys of the device whose node this is, ``None`` if it has no mark.

    ``node`` may be a descriptor of a process; the device may be gone.
    """
    try:
        identity, _, directory = os.getxattr(node, _MARK).decode().partition(" ")
        return directory if identity == _identity(os.stat(node)) else None
    except (OSError, UnicodeDecodeError):
        return None


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"
