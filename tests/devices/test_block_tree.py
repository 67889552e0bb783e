"""A disk is shown with its partitions, what is built on them, and where it is mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsid.devices.block_tree import block_device
from iscsid.devices.mounts import Mounts
from iscsid.status.model import BlockDevice
from tests.support.sysfs_tree import SysfsTree

MOUNTS = """\
23 1 0:21 / / ro,relatime - 9p /dev/root ro,sync
40 23 8:1 / /data rw - ext4 /dev/sdx1 rw
41 23 8:1 /home /my\\040home rw - ext4 /dev/sdx1 rw
42 23 253:0 / /srv rw - xfs /dev/mapper/vg-srv rw
"""


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    tree = SysfsTree(tmp_path / "sys")
    unit = tree.add_unit(tree.add_session(1, 5), 5, 1, "sdx", "sdx1", "sdx2")
    disk = unit / "block/sdx"
    (disk / "size").write_text("131072\n")
    mapped = tree.root / "devices/virtual/block/dm-0"
    (mapped / "dm").mkdir(parents=True)
    (mapped / "dm/name").write_text("vg-srv\n")
    (mapped / "dev").write_text("253:0\n")
    (disk / "sdx2/holders/dm-0").symlink_to(mapped)
    (tree.root / "class/block").mkdir()
    (tree.root / "class/block/sdx").symlink_to(disk)
    return tree


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS)
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    return Mounts(tmp_path / "proc")


def test_partitions_and_what_is_built_on_them_are_found(tree: SysfsTree, mounts: Mounts) -> None:
    disk = block_device("/dev/sdx", mounts, tree.sysfs)
    assert disk is not None and disk.size == 64 << 20
    data = BlockDevice(name="sdx1", mounted_on=("/data", "/my home"))
    srv = BlockDevice(name="vg-srv", mounted_on=("/srv",))
    assert disk.children == (data, BlockDevice(name="sdx2", children=(srv,)))
    assert disk.all_mounts() == ["/data", "/my home", "/srv"]


def test_without_proc_the_tree_is_shown_without_mounts(tree: SysfsTree) -> None:
    disk = block_device("/dev/sdx", None, tree.sysfs)
    assert disk is not None and len(disk.children) == 2 and disk.all_mounts() == []


def test_a_disk_that_has_gone_is_none(tree: SysfsTree, mounts: Mounts) -> None:
    assert block_device("/dev/sdy", mounts, tree.sysfs) is None


def test_a_device_that_holds_itself_ends(tree: SysfsTree, mounts: Mounts) -> None:
    disk = (tree.root / "class/block/sdx").resolve()
    (disk / "holders/sdx").symlink_to(disk)
    assert block_device("/dev/sdx", mounts, tree.sysfs) is not None
