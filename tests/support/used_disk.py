"""A disk in trees that look like /proc and /sys, in which tests put what uses it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.devices.disk_users import find_users
from iscsid.devices.openings import Descriptor
from iscsid.devices.sysfs import ScsiDevice
from tests.support.sysfs_tree import SysfsTree

ROOT = "23 1 0:21 / / ro,relatime - 9p /dev/root ro,sync"
NO_SWAP = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
UNEXPLAINED = (
    "could not be checked: the kernel counts 1 opening of iSCSI disks more than users were found",
)


class Disk:
    """A disk with two partitions, 8:0 to 8:2, and a /proc of its own."""

    def __init__(self, directory: Path) -> None:
        self.tree = SysfsTree(directory / "sys")
        self.unit = self.tree.add_unit(self.tree.add_session(7, 5), 5, 1, "sdx", "sdx1", "sdx2")
        self.device = ScsiDevice(self.unit, 1)
        self.proc = directory / "proc"
        self.add_process("self", ROOT)
        self.count_openings(0)
        (self.proc / "swaps").write_text(NO_SWAP)
        self.pauses = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.same: list[set[Descriptor]] = []
        """Pairs of descriptors that come of one opening."""
        self.marks: dict[str, str] = {}
        """Where in /sys the device was whose node is open, by the descriptor's target."""

    def count_openings(self, number: int) -> None:
        """Have the kernel count so many openings, beside the session's own reference."""
        counter = self.tree.root / "module/iscsi_tcp/refcnt"
        counter.parent.mkdir(parents=True, exist_ok=True)
        counter.write_text(f"{1 + number}\n")

    def add_process(self, name: str, mounts: str, comm: str = "sh") -> Path:
        """Add a process with a mount namespace of its own."""
        process = self.proc / name
        (process / "ns").mkdir(parents=True)
        (process / "ns/mnt").touch()
        (process / "fd").mkdir()
        (process / "fdinfo").mkdir()
        (process / "mountinfo").write_text(mounts)
        (process / "comm").write_text(f"{comm}\n")
        (process / "status").write_text("Name:\tx\nPPid:\t0\n")
        return process

    def mount(self, line: str) -> None:
        (self.proc / "self/mountinfo").write_text(f"{ROOT}\n{line}\n")

    def pause(self, _seconds: float) -> None:
        self.pauses += 1
        self.meanwhile()

    @property
    def uses(self) -> tuple[str, ...]:
        (uses,) = find_users(
            self.tree.sysfs,
            [self.device],
            proc=self.proc,
            pause=self.pause,
            is_same=lambda one, other: {one, other} in self.same,
            mark_of=lambda descriptor: self.marks.get(os.readlink(descriptor)),
        )
        return uses


def block_device() -> tuple[str, str]:
    """Return path and number of some block device of this machine."""
    for path in sorted(Path("/dev").iterdir()):
        status = path.stat() if path.exists() else None
        if status is not None and stat.S_ISBLK(status.st_mode):
            return str(path), f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    pytest.skip("this machine has no block device")


def opened(disk: Disk, comm: str, path: str = "/dev/null") -> Path:
    """Have a process hold /dev/null open, which is made the disk's generic node."""
    number = os.stat("/dev/null").st_rdev
    generic = disk.unit / "scsi_generic/sg3"
    generic.mkdir(parents=True)
    (generic / "dev").write_text(f"{os.major(number)}:{os.minor(number)}\n")
    process = disk.add_process("815", ROOT, comm)
    open_in(process, path)
    disk.count_openings(1)
    return process


def open_in(process: Path, path: str, flags: int = os.O_RDWR) -> None:
    """Give a process descriptor 7."""
    (process / "fd/7").symlink_to(path)
    (process / "fdinfo/7").write_text(f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t25\n")


def add_other(disk: Disk) -> Path:
    """Add a disk of another session, with a partition: 8:16 and 8:17."""
    other = disk.tree.add_unit(disk.tree.add_session(8, 6), 6, 0, "sdy", "sdy1")
    (other / "block/sdy/dev").write_text("8:16\n")
    (other / "block/sdy/sdy1/dev").write_text("8:17\n")
    return other
