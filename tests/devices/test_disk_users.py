"""Who uses a disk: read from trees that look like /proc and /sys.

Mounts, swap, device-mapper and exclusive opening of real disks are tried in the virtual machine.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from iscsid.devices.disk_users import disk_users
from iscsid.devices.sysfs import ScsiDevice
from tests.support.sysfs_tree import SysfsTree

ROOT = "23 1 0:21 / / ro,relatime - 9p /dev/root ro,sync"
NO_SWAP = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


class Disk:
    """A disk with two partitions, 8:0 to 8:2, and a /proc of its own."""

    def __init__(self, directory: Path) -> None:
        tree = SysfsTree(directory / "sys")
        self.unit = tree.add_unit(tree.add_session(7, 5), 5, 1, "sdx", "sdx1", "sdx2")
        self.device = ScsiDevice(self.unit, 1)
        self.proc = directory / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.show()

    def show(self, mounts: str = ROOT, swaps: str = NO_SWAP) -> None:
        (self.proc / "self/mountinfo").write_text(mounts)
        (self.proc / "swaps").write_text(swaps)

    @property
    def uses(self) -> tuple[str, ...]:
        return disk_users(self.device, may_open=False, proc=self.proc)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_disk_nobody_uses_is_free(disk: Disk) -> None:
    assert disk.uses == ()


def test_mounted_partition_is_found_by_its_number(disk: Disk) -> None:
    disk.show(f"{ROOT}\n38 23 8:2 / /data rw - ext4 /dev/somewhere/else rw\n")
    assert disk.uses == ("/dev/sdx2 is mounted on /data",)


def test_mount_point_with_a_space_is_readable(disk: Disk) -> None:
    disk.show(f"{ROOT}\n38 23 8:0 / /my\\040data rw shared:1 master:2 - ext4 /dev/sdx rw\n")
    assert disk.uses == ("/dev/sdx is mounted on /my data",)


def block_device() -> tuple[str, str]:
    """Return path and number of some block device of this machine."""
    for path in sorted(Path("/dev").iterdir()):
        status = path.stat() if path.exists() else None
        if status is not None and stat.S_ISBLK(status.st_mode):
            return str(path), f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    pytest.skip("this machine has no block device")


def test_mount_with_a_number_of_its_own_is_found_by_its_source(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/dev").write_text(number)
    disk.show(f"{ROOT}\n38 23 0:41 /@ /home rw - btrfs {path} rw\n")
    assert disk.uses == ("/dev/sdx is mounted on /home",)


def test_swap_is_found_by_its_number(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/sdx1/dev").write_text(number)
    disk.show(swaps=f"{NO_SWAP}{path}\tpartition\t1\t0\t-2\n")
    assert disk.uses == ("/dev/sdx1 is swap",)


def test_swap_file_and_other_disks_are_nobody_here(disk: Disk) -> None:
    disk.show(
        f"{ROOT}\n38 23 8:16 / /other rw - ext4 /dev/nonesuch rw\n",
        f"{NO_SWAP}/swap\\040file\tfile\t1\t0\t-2\n/dev/nonesuch\tpartition\t1\t0\t-2\n",
    )
    assert disk.uses == ()


def test_holder_is_called_by_its_device_mapper_name(disk: Disk) -> None:
    (disk.unit / "block/sdx/sdx2/holders/dm-0/dm").mkdir(parents=True)
    (disk.unit / "block/sdx/sdx2/holders/dm-0/dm/name").write_text("vg0-data\n")
    (disk.unit / "block/sdx/holders/md127").mkdir()
    assert disk.uses == ("/dev/sdx is held by md127", "/dev/sdx2 is held by vg0-data")


def test_partition_that_vanishes_is_no_use(disk: Disk) -> None:
    (disk.unit / "block/sdx/sdx2/dev").unlink()
    assert disk.uses == ()


def test_node_that_cannot_be_opened_is_not_called_taken(disk: Disk) -> None:
    assert disk_users(disk.device, may_open=True, proc=disk.proc) == ()
