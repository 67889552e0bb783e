"""Who uses a disk: the question before a session may be logged out.

A disk counts as used when it, or a partition of it, is mounted, is swap, is held by device-mapper
or md, or is opened exclusively. Touches /proc, the disks' directories in /sys, and, where it may,
the device nodes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iscsid.devices.mounts import Mounts
from iscsid.devices.sysfs import ScsiDevice, entries


@dataclass(frozen=True, slots=True)
class _Node:
    """A disk or a partition: its directory in /sys, its device node and number."""

    directory: Path
    number: str

    @property
    def path(self) -> str:
        return f"/dev/{self.directory.name}"


def disk_users(
    device: ScsiDevice, *, may_open: bool, proc: Path = Path("/proc")
) -> tuple[str, ...]:
    """Return in words who uses a logical unit's disk; empty where nobody does.

    ``may_open`` allows the surest test, which waits for the SCSI error handler where that is at
    work. It also finds what other mount namespaces have mounted.
    """
    nodes, mounts = list(_nodes(device)), Mounts(proc)
    uses = tuple(
        f"{node.path} {use}" for node in nodes for use in (*_holders(node), *_mounts(node, mounts))
    )
    if uses or not may_open:
        return uses
    return tuple(f"{node.path} is opened exclusively" for node in nodes if _is_taken(node))


def _nodes(device: ScsiDevice) -> Iterator[_Node]:
    for directory in device.block_devices():
        try:
            yield _Node(directory, (directory / "dev").read_text().strip())
        except OSError:
            continue  # it has just gone


def _holders(node: _Node) -> Iterator[str]:
    for holder in entries(node.directory, "holders/*"):
        try:
            name = (holder / "dm/name").read_text().strip()
        except OSError:
            name = holder.name
        yield f"is held by {name}"


def _mounts(node: _Node, mounts: Mounts) -> Iterator[str]:
    yield from (f"is mounted on {point}" for point in mounts.points(node.number))
    if mounts.is_swap(node.number):
        yield "is swap"


def _is_taken(node: _Node) -> bool:
    """Without O_NONBLOCK a drive without a medium would be asked for one."""
    try:
        os.close(os.open(node.path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False
