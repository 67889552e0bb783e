"""What the kernel counts beside the users that are found: read from trees like /proc and /sys.

The kernel's own count, with scans, removed disks and exports, is tried in the virtual machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.devices import disk_users as module
from iscsid.devices.openings import READINGS, lowest_count
from iscsid.devices.sysfs import ScsiDevice
from tests.support.used_disk import (
    ROOT,
    UNEXPLAINED,
    Disk,
    add_other,
    block_device,
    open_in,
    opened,
)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_opening_that_nothing_explains_is_a_doubt(disk: Disk) -> None:
    """As of a LUN that this machine exports again: only the kernel's count shows it."""
    disk.count_openings(1)
    assert disk.uses == UNEXPLAINED


def test_count_that_is_explained_a_moment_later_is_no_doubt(disk: Disk) -> None:
    disk.count_openings(1)
    disk.meanwhile = lambda: disk.count_openings(0)
    assert not disk.uses


def test_users_of_other_disks_explain_the_count(disk: Disk) -> None:
    add_other(disk)
    disk.mount("38 23 8:16 / /other rw - ext4 /dev/sdy rw")
    disk.count_openings(2)  # and one is the other session's
    assert not disk.uses
    disk.count_openings(3)
    assert disk.uses == UNEXPLAINED


REPORT_LUNS = """\
[<0>] blk_execute_rq+0xea/0x210
[<0>] __scsi_execute+0x107/0x2c0 [scsi_mod]
[<0>] __scsi_scan_target+0x31d/0x590 [scsi_mod]
[<0>] scsi_scan_target+0xe1/0x100 [scsi_mod]
[<0>] iscsi_user_scan_session+0x126/0x150 [scsi_transport_iscsi]
[<0>] device_for_each_child+0x66/0xa0
[<0>] iscsi_user_scan+0x4c/0x70 [scsi_transport_iscsi]
"""
SCAN_OF_ONE_LUN = REPORT_LUNS.replace(
    "[<0>] __scsi_scan_target", "[<0>] scsi_probe_and_add_lun+0x19a/0xe30\n[<0>] __scsi_scan_target"
)
WAITS_FOR_ANOTHER_SCAN = REPORT_LUNS[REPORT_LUNS.index("[<0>] iscsi_user_scan_session") :]
SCAN_OF_ANOTHER_DRIVER = REPORT_LUNS.replace("iscsi_user_scan", "store_scan")


def scan(disk: Disk, path: str, stack: str) -> Path:
    """Add a process that has the file open, and waits there in the kernel."""
    process = disk.add_process("815", ROOT, "iscsid: scan")
    (process / "fd/4").symlink_to(path)
    wait_in_the_kernel(process, stack)
    disk.count_openings(1)
    return process


def wait_in_the_kernel(process: Path, stack: str) -> Path:
    thread = process / "task/815"
    thread.mkdir(parents=True)
    (thread / "stat").write_text("815 (a (name) R) D 1 815 815 0\n")
    (thread / "stack").write_text(stack)
    return thread


def test_scan_that_waits_for_report_luns_explains_one(disk: Disk) -> None:
    process = scan(disk, "/sys/devices/platform/host5/scsi_host/host5/scan", REPORT_LUNS)
    assert not disk.uses
    (process / "fd/5").symlink_to("/sys/devices/pci0/host9/scsi_host/host9/scan")
    assert disk.uses == UNEXPLAINED, "it may scan an adapter that is none of ours"


@pytest.mark.parametrize(
    "stack", [SCAN_OF_ONE_LUN, WAITS_FOR_ANOTHER_SCAN, SCAN_OF_ANOTHER_DRIVER, ""]
)
def test_other_scans_hold_no_reference_and_explain_none(disk: Disk, stack: str) -> None:
    """What is left is of a LUN that is exported again, and nothing else shows it."""
    scan(disk, "/sys/devices/platform/host5/scsi_host/host5/scan", stack)
    assert disk.uses == UNEXPLAINED


@pytest.mark.parametrize(
    "path",
    [
        "/sys/devices/platform/host9/scsi_host/host9/scan",
        "/sys/devices/platform/host5/session7/target5:0:0/5:0:0:1/vpd_pg83",
    ],
)
def test_other_files_of_a_host_explain_nothing(disk: Disk, path: str) -> None:
    """A scan of an adapter that is none of ours, a program that reads an attribute."""
    scan(disk, path, REPORT_LUNS)
    assert disk.uses == UNEXPLAINED


# --- openings that wait -------------------------------------------------------------------------

OPEN = """\
[<0>] blk_execute_rq+0xea/0x210
[<0>] sr_check_events+0xc0/0x2d0 [sr_mod]
[<0>] bdev_check_media_change+0x5e/0x150
[<0>] sr_block_open+0x5b/0xd0 [sr_mod]
[<0>] blkdev_get_whole+0x28/0x90
"""
WAITS_FOR_ANOTHER_OPEN = "[<0>] blkdev_get_by_dev+0x60/0x300\n[<0>] nfsd_open+0x5b/0xd0\n"


def opening(disk: Disk, comm: str, stack: str = OPEN, node: str = "/dev/null") -> None:
    """Have a process wait in open(2) of the disk's generic node, which is /dev/null here."""
    process = opened(disk, comm)
    (process / "fd/7").unlink()
    (process / "root").symlink_to("/")
    thread = wait_in_the_kernel(process, stack)
    (thread / "syscall").write_text("257 0xffffff9c 0x10 0x0 0x0 0x0 0x0 0x7ffd 0x7f01\n")
    (thread / "mem").write_bytes(bytes(16) + node.encode() + b"\0/dev/sdz")


def test_open_that_waits_is_a_use(disk: Disk) -> None:
    opening(disk, "mplayer")
    assert disk.uses == ("/dev/sg3 is open in mplayer (pid 815)",)


def test_open_of_a_program_that_only_watches_explains_one(disk: Disk) -> None:
    """udev's cdrom_id, while the target is away."""
    opening(disk, "(udev-worker)")
    assert not disk.uses
    disk.count_openings(2)
    assert disk.uses == UNEXPLAINED


@pytest.mark.parametrize(
    ("stack", "node"),
    [(WAITS_FOR_ANOTHER_OPEN, "/dev/null"), (OPEN, "/dev/zero"), (OPEN, "/dev/stdin"), (OPEN, "x")],
)
def test_open_that_holds_no_reference_to_a_known_disk_explains_none(
    disk: Disk, stack: str, node: str
) -> None:
    opening(disk, "(udev-worker)", stack, node)
    assert disk.uses == UNEXPLAINED


# --- disks that have been removed ---------------------------------------------------------------

REMOVED = "/sys/devices/platform/host3/session2/target3:0:0/3:0:0:1/block/sdq"


@pytest.fixture
def removed(disk: Disk, tmp_path: Path) -> Path:
    """A process that has a disk open which is gone; its node is not in /dev."""
    process = disk.add_process("815", ROOT, "sleep")
    node = tmp_path / "sdq (deleted)"
    node.symlink_to("/dev/null")
    open_in(process, str(node))
    disk.marks[str(node)] = REMOVED
    disk.count_openings(1)
    return process


def test_opening_of_a_removed_disk_is_no_doubt_about_others(disk: Disk, removed: Path) -> None:
    assert not disk.uses
    disk.count_openings(2)
    assert disk.uses == UNEXPLAINED


def test_opening_of_a_removed_disk_that_may_be_another_drivers_explains_none(
    disk: Disk, removed: Path
) -> None:
    """A memory stick that was pulled out: what the kernel counts is of another disk."""
    disk.marks.clear()
    assert disk.uses == UNEXPLAINED


def test_opening_of_a_disk_of_another_iscsi_driver_explains_none(disk: Disk, removed: Path) -> None:
    """Its node has a mark, too, but the kernel counts its openings elsewhere."""
    adapter = "/sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"
    disk.marks[os.readlink(removed / "fd/7")] = REMOVED.replace("/sys/devices/platform", adapter)
    assert disk.uses == UNEXPLAINED


def test_old_node_that_opens_another_drivers_disk_explains_none(disk: Disk, removed: Path) -> None:
    """A node that was bound into a container stays there, and another device gets its number."""
    number = os.stat(removed / "fd/7").st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    (disk.tree.root / "dev/char" / name).mkdir(parents=True)
    assert disk.uses == UNEXPLAINED


def test_path_to_a_removed_disk_is_no_opening(disk: Disk, removed: Path) -> None:
    (removed / "fdinfo/7").write_text(f"flags:\t0{os.O_PATH:o}\n")
    assert disk.uses == UNEXPLAINED


def test_opening_of_a_removed_disk_that_has_ended_explains_no_other(
    disk: Disk, removed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_the_count_is_read(monkeypatch, lambda: (removed / "fd/7").unlink(missing_ok=True))
    assert disk.uses == UNEXPLAINED


@pytest.mark.parametrize(("release", "most"), [("6.1.0-9-amd64", 1), ("6.12.1", 3)])
def test_users_of_a_removed_partition_are_counted_as_the_kernel_does(
    disk: Disk, removed: Path, release: str, most: int
) -> None:
    """Two processes and a volume."""
    target = os.readlink(removed / "fd/7")
    disk.marks[target] = f"{REMOVED}/sdq1"
    open_in(disk.add_process("816", ROOT, "sleep"), target)
    below = disk.tree.root / "block/dm-0/slaves"
    below.mkdir(parents=True)
    directory = disk.tree.root / REMOVED.removeprefix("/sys/")
    disk.marks[target] = f"{directory}/sdq1"
    (below / "sdq1").symlink_to(directory / "sdq1")
    (disk.proc / "sys/kernel").mkdir(parents=True)
    (disk.proc / "sys/kernel/osrelease").write_text(f"{release}\n")
    disk.count_openings(most)
    assert not disk.uses
    disk.count_openings(most + 1)
    assert disk.uses == UNEXPLAINED


def test_holder_of_a_disk_of_another_driver_explains_none(disk: Disk) -> None:
    below = disk.tree.root / "block/md0/slaves"
    below.mkdir(parents=True)
    (below / "sdq").symlink_to(disk.tree.root / "devices/pci0/host3/target3:0:0/3:0:0:1/block/sdq")
    disk.count_openings(1)
    assert disk.uses == UNEXPLAINED


def test_removed_disks_are_named_if_the_count_is_not_explained(disk: Disk) -> None:
    disk.mount("38 23 8:48 / /gone rw - ext4 /dev/sdq rw")
    loop = disk.tree.root / "block/loop3/loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text("/dev/sdq1 (deleted)\n")
    disk.count_openings(2)
    (use,) = disk.uses
    assert use == (
        "could not be checked: the kernel counts 2 openings of iSCSI disks more than users were "
        "found (perhaps of a removed one: 8:48 is mounted on /gone; "
        "/dev/sdq1 (deleted) backs loop3)"
    )
    disk.count_openings(0)
    assert not disk.uses


# --- disks that the kernel exports --------------------------------------------------------------

INFO = """\
Status: DEACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 65528
        iBlock device: sdy  UDEV PATH: /dev/sdy  readonly: 0
        Major: 8 Minor: 16  CLAIMED: IBLOCK
"""


def export(disk: Disk, kind: str, info: str) -> None:
    backstore = disk.tree.root / f"kernel/config/target/core/{kind}/again"
    backstore.mkdir(parents=True)
    (backstore / "enable").write_text("1\n")
    (backstore / "info").write_text(info)
    (backstore.parent.parent / "alua/lu_gps").mkdir(parents=True)


def test_exported_disk_is_in_use_and_no_doubt_about_others(disk: Disk) -> None:
    export(disk, "iblock_7", INFO)
    other = add_other(disk)
    disk.count_openings(2)  # and one is the other session's
    assert not disk.uses
    disk.device = ScsiDevice(other, 0)
    assert disk.uses == ("/dev/sdy is exported as iblock_7/again",)


def test_exported_file_may_be_a_disk(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/dev").write_text(number)
    export(disk, "fileio_7", f"TCM FILEIO ID: 0        File: {path}  Size: 4194304  Mode: O_DSYNC")
    disk.count_openings(1)
    assert disk.uses == ("/dev/sdx is exported as fileio_7/again",)


@pytest.mark.parametrize("through_link", [False, True])
def test_exported_namespace_is_a_use_if_its_path_is_a_node(disk: Disk, through_link: bool) -> None:
    """A link such as those in /dev/disk/by-id may lead to another disk by now."""
    path, number = block_device()
    (disk.unit / "block/sdx/dev").write_text(number)
    space = disk.tree.root / "kernel/config/nvmet/subsystems/sub/namespaces/1"
    space.mkdir(parents=True)
    (space / "enable").write_text("1\n")
    (space / "device_path").write_text(f"{'/dev/..' * through_link}{path}\n")
    disk.count_openings(1)
    assert disk.uses == (UNEXPLAINED if through_link else ("/dev/sdx is exported as sub/1",))


def as_the_count_is_read(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Do something between the survey and the first count."""

    def count(root: Path, enough: int, pause: Callable[[float], None]) -> int | None:
        action()
        return lowest_count(root, enough, pause)

    monkeypatch.setattr(module, "lowest_count", count)


def test_opening_that_has_ended_explains_no_other(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is left is of a LUN that is exported again: nothing else shows it."""
    process = opened(disk, "multipathd")
    as_the_count_is_read(monkeypatch, lambda: (process / "fd/7").unlink(missing_ok=True))
    assert disk.uses == UNEXPLAINED


def test_mount_that_has_ended_explains_no_other(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_other(disk)
    disk.mount("38 23 8:16 / /other rw - ext4 /dev/sdy rw")
    disk.count_openings(2)  # one is the other session's
    as_the_count_is_read(monkeypatch, lambda: disk.mount(ROOT))
    assert disk.uses == UNEXPLAINED


def test_session_that_has_ended_explains_no_opening(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.tree.add_session(8, 6)
    disk.count_openings(1)
    session = disk.tree.root / "class/iscsi_session/session8"
    as_the_count_is_read(monkeypatch, lambda: session.unlink(missing_ok=True))
    assert disk.uses == UNEXPLAINED


def test_program_that_opens_a_disk_for_a_moment_is_no_doubt(disk: Disk) -> None:
    """As one that reads error counters does; it has the disk open at every other reading."""
    disk.count_openings(1)
    readings = 0

    def read() -> None:
        nonlocal readings
        readings += 1
        disk.count_openings(readings % 2)

    disk.meanwhile = read
    assert not disk.uses
    assert readings < READINGS


def test_opening_that_a_child_inherits_explains_one(disk: Disk) -> None:
    opened(disk, "multipathd")
    open_in(disk.add_process("816", ROOT, "multipathd"), "/dev/null")
    disk.count_openings(2)
    assert not disk.uses
    disk.same = [{(815, 7), (816, 7)}]
    assert disk.uses == UNEXPLAINED


@pytest.mark.parametrize(
    ("release", "most"), [("5.10.0-28-amd64", 1), ("6.1.0-9-amd64", 1), ("6.5.0", 2), ("?", 1)]
)
def test_partition_is_opened_once_for_older_kernels(disk: Disk, release: str, most: int) -> None:
    """Two logical volumes on one partition are two holders."""
    other = add_other(disk)
    for holder in ("dm-0", "dm-1"):
        (other / "block/sdy/sdy1/holders" / holder).mkdir(parents=True)
    (disk.proc / "sys/kernel").mkdir(parents=True)
    (disk.proc / "sys/kernel/osrelease").write_text(f"{release}\n")
    disk.count_openings(1 + most)  # one is the other session's
    assert not disk.uses
    disk.count_openings(1 + most + 1)
    assert disk.uses == UNEXPLAINED


def test_descriptor_that_is_only_a_path_is_no_opening(disk: Disk) -> None:
    process = opened(disk, "sh")
    (process / "fd/7").unlink()
    open_in(process, "/dev/null", os.O_PATH)
    assert disk.uses == UNEXPLAINED
    disk.count_openings(0)
    assert not disk.uses


def test_bsg_node_is_a_use_that_the_kernel_does_not_count(disk: Disk) -> None:
    process = opened(disk, "sh")
    (disk.unit / "scsi_generic").rename(disk.unit / "bsg")
    disk.count_openings(0)
    assert disk.uses == ("/dev/sg3 is open in sh (pid 815)",)
    (process / "comm").write_text("multipathd\n")
    disk.count_openings(1)
    assert disk.uses == UNEXPLAINED


def test_files_of_an_unmounted_file_system_are_one_opening(disk: Disk, tmp_path: Path) -> None:
    """Two files that are open after umount --lazy, and /sys/fs."""
    other = add_other(disk)
    number = os.stat(tmp_path).st_dev
    (other / "block/sdy/dev").write_text(f"{os.major(number)}:{os.minor(number)}\n")
    (disk.tree.root / "fs/ext4/sdy").mkdir(parents=True)
    for name in ("815", "816"):
        (tmp_path / name).touch()
        open_in(disk.add_process(name, ROOT), str(tmp_path / name))
    disk.count_openings(2)  # one is the other session's
    assert not disk.uses
    disk.count_openings(3)
    assert disk.uses == UNEXPLAINED


def test_kernel_that_counts_nothing_is_believed_in_the_rest(disk: Disk) -> None:
    """iscsi_tcp may be built in."""
    (disk.tree.root / "module/iscsi_tcp/refcnt").unlink()
    assert not disk.uses


def test_driver_that_only_a_count_would_show_is_a_doubt_where_nothing_is_counted(
    disk: Disk,
) -> None:
    (disk.tree.root / "module/target_core_mod").mkdir()
    disk.count_openings(0)
    assert not disk.uses
    (disk.tree.root / "module/iscsi_tcp/refcnt").unlink()
    (use,) = disk.uses
    assert use.startswith("could not be checked: this kernel counts no openings, and target_core")


def test_count_that_cannot_be_read_is_a_doubt(disk: Disk) -> None:
    refcnt = disk.tree.root / "module/iscsi_tcp/refcnt"
    refcnt.write_text("many\n")
    assert disk.uses[0].startswith("could not be checked: the kernel's count of openings: ")
    refcnt.unlink()
    refcnt.mkdir()
    (use,) = disk.uses
    assert use == "could not be checked: the kernel's count of openings: Is a directory"
