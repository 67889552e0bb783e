"""Who uses a disk: the question before a session may be logged out.

A disk counts as used when it, or a partition of it, is mounted, is swap, is held by device-mapper
or md, or is opened exclusively. Touches /proc, the disks' directories in /sys, and, where it may,
the device nodes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iscsid.devices.sysfs import ScsiDevice, entries

_ESCAPE = re.compile(r"\\([0-7]{3})")


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
    nodes = list(_nodes(device))
    uses = tuple(
        f"{node.path} {use}"
        for node in nodes
        for use in (*_holders(node), *_mounts(node, proc), *_swaps(node, proc))
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


def _mounts(node: _Node, proc: Path) -> Iterator[str]:
    """Some file systems (btrfs) show a number of their own, so the source is looked at too."""
    for line in (proc / "self/mountinfo").read_text(errors="replace").splitlines():
        place, _, kind = line.partition(" - ")
        number, mount_point = place.split(" ")[2], place.split(" ")[4]
        if number == node.number or _has_number(kind.split(" ")[1], node.number):
            yield f"is mounted on {_unescape(mount_point)}"


def _swaps(node: _Node, proc: Path) -> Iterator[str]:
    for line in (proc / "swaps").read_text(errors="replace").splitlines()[1:]:
        if _has_number(line.split()[0], node.number):
            yield "is swap"


def _has_number(path: str, number: str) -> bool:
    """Whether ``path``, as /proc writes it, is the block device of that number."""
    if not path.startswith("/dev/"):
        return False
    try:
        rdev = os.stat(_unescape(path)).st_rdev
    except OSError:
        return False
    return f"{os.major(rdev)}:{os.minor(rdev)}" == number


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _is_taken(node: _Node) -> bool:
    """Without O_NONBLOCK a drive without a medium would be asked for one."""
    try:
        os.close(os.open(node.path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False
