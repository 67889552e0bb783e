"""A disk with its partitions and what is built on them, for iscsi-ls. Touches /sys alone.

What vanishes meanwhile is left out.
"""

from __future__ import annotations

from pathlib import Path

from iscsid.devices.mounts import Mounts
from iscsid.devices.sysfs import Sysfs, entries, read_attribute, read_number
from iscsid.status.model import BlockDevice

_SECTOR = 512
"""Bytes: /sys counts sizes in these, whatever the disk's own sectors are."""
_DEEPEST = 8
"""Levels of device-mapper and md that are shown."""


def block_device(node: str, mounts: Mounts | None, sysfs: Sysfs) -> BlockDevice | None:
    """Return the block device of a node such as /dev/sda; ``None`` if there is none."""
    name = node.removeprefix("/dev/").replace("/", "!")
    directory = sysfs.root / "class/block" / name
    return _device(directory, mounts, _DEEPEST) if (directory / "dev").exists() else None


def _device(directory: Path, mounts: Mounts | None, depth: int) -> BlockDevice:
    number = read_attribute(directory / "dev") or ""
    sectors = read_number(directory / "size")
    users = [] if mounts is None else mounts.points(number)
    if mounts is not None and mounts.is_swap(number):
        users.append("[swap]")
    parts = [path.parent for path in entries(directory, "*/partition")]
    holders = [path.resolve() for path in entries(directory, "holders/*")]
    return BlockDevice(
        name=read_attribute(directory / "dm/name") or directory.name.replace("!", "/"),
        size=None if sectors is None else sectors * _SECTOR,
        mounted_on=tuple(users),
        children=tuple(_device(each, mounts, depth - 1) for each in (*parts, *holders) if depth),
    )
