"""What uses a disk: read from trees that look like /proc and /sys.

Real mounts, swap, device-mapper, loop devices and processes are tried in the virtual machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from iscsid.devices import disk_users as module
from iscsid.devices.disk_users import find_users
from iscsid.devices.openings import READINGS, Descriptor, lowest_count
from iscsid.devices.sysfs import ScsiDevice
from tests.support.sysfs_tree import SysfsTree

ROOT = "23 1 0:21 / / ro,relatime - 9p /dev/root ro,sync"
NO_SWAP = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
UNEXPLAINED = (
    "could not be checked: the kernel counts more openings of iSCSI disks than users were found",
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
        )
        return uses


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def block_device() -> tuple[str, str]:
    """Return path and number of some block device of this machine."""
    for path in sorted(Path("/dev").iterdir()):
        status = path.stat() if path.exists() else None
        if status is not None and stat.S_ISBLK(status.st_mode):
            return str(path), f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    pytest.skip("this machine has no block device")


def test_disk_without_users_is_free_after_one_look(disk: Disk) -> None:
    assert disk.uses == ()
    assert disk.pauses == 0


# --- mounts -------------------------------------------------------------------------------------


def test_mounted_partition_is_found_by_its_number(disk: Disk) -> None:
    disk.mount("38 23 8:2 / /data rw - ext4 /dev/somewhere/else rw")
    disk.count_openings(1)
    assert disk.uses == ("/dev/sdx2 is mounted on /data",)
    assert disk.pauses == 0


def test_mount_point_with_a_space_is_readable(disk: Disk) -> None:
    disk.mount("38 23 8:0 / /my\\040data rw shared:1 master:2 - ext4 /dev/sdx rw")
    assert disk.uses == ("/dev/sdx is mounted on /my data",)


def test_mount_in_another_mount_namespace_counts(disk: Disk) -> None:
    disk.add_process("815", f"{ROOT}\n38 23 8:2 / /elsewhere rw - ext4 /dev/sdx2 rw\n")
    assert disk.uses == ("/dev/sdx2 is mounted on /elsewhere",)


def test_mount_with_a_number_of_its_own_is_found_by_its_source(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/dev").write_text(number)
    disk.mount(f"38 23 0:41 /@ /home rw - btrfs {path} rw")
    assert disk.uses == ("/dev/sdx is mounted on /home",)


def test_the_source_of_a_mount_explains_no_opening(disk: Disk) -> None:
    """It is any text, such as a tmpfs may have: the user that only the count shows stays hidden."""
    path, number = block_device()
    other = disk.tree.add_unit(disk.tree.add_session(8, 6), 6, 0, "sdy")
    (other / "block/sdy/dev").write_text(number)
    disk.mount(f"38 23 0:41 / /mnt rw - tmpfs {path} rw")
    disk.count_openings(2)  # and one is the other session's
    assert disk.uses == UNEXPLAINED


@pytest.mark.parametrize(
    ("entry", "use"),
    [
        ("sys/fs/ext4/sdx1", "carries a live ext4 file system"),
        ("sys/fs/btrfs/af3b-11/devices/sdx1", "is part of a live btrfs file system"),
        ("proc/fs/jbd2/sdx1", "is the journal of a live file system"),
    ],
)
def test_file_system_that_is_mounted_nowhere_counts(
    disk: Disk, tmp_path: Path, entry: str, use: str
) -> None:
    """As after umount --lazy, and for the other disks of a file system on several."""
    (tmp_path / entry).mkdir(parents=True)
    disk.count_openings(1)
    assert disk.uses == (f"/dev/sdx1 {use}",)


def test_journal_within_a_file_system_is_no_use_of_another_disk(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "proc/fs/jbd2/sdx1-8").mkdir(parents=True)
    assert disk.uses == ()


def test_mounts_that_cannot_be_read_are_a_doubt(disk: Disk) -> None:
    """A process of another user, for one who is not root."""
    (disk.proc / "self/mountinfo").unlink()
    (disk.proc / "self/mountinfo").mkdir()
    assert disk.uses == ("could not be checked: the mounts of self: Is a directory",)


def test_malformed_table_is_a_doubt_and_no_traceback(disk: Disk) -> None:
    (disk.proc / "self/mountinfo").write_text("38 23 8:2\n")
    assert disk.uses[0].startswith("could not be checked: the mounts of self: ")


def test_process_that_ends_meanwhile_is_no_doubt(disk: Disk) -> None:
    process = disk.add_process("815", ROOT)
    (process / "mountinfo").unlink()
    assert disk.uses == ()


# --- swap, holders, loop devices ----------------------------------------------------------------


def test_swap_is_found_by_its_number(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/sdx1/dev").write_text(number)
    (disk.proc / "swaps").write_text(f"{NO_SWAP}{path}\tpartition\t1\t0\t-2\n")
    assert disk.uses == ("/dev/sdx1 is swap",)


def test_mounts_and_swap_of_other_disks_are_no_use(disk: Disk) -> None:
    disk.mount("38 23 8:16 / /other rw - ext4 /dev/nonesuch rw")
    (disk.proc / "swaps").write_text(f"{NO_SWAP}/swap\\040file\tfile\t1\t0\t-2\n")
    assert disk.uses == ()


def test_swap_device_that_is_not_found_is_a_doubt(disk: Disk) -> None:
    (disk.proc / "swaps").write_text(f"{NO_SWAP}/dev/nonesuch\tpartition\t1\t0\t-2\n")
    assert disk.uses == ("could not be checked: the swap device /dev/nonesuch is not in /dev",)


def test_loop_device_on_a_disk_counts(disk: Disk) -> None:
    path, number = block_device()
    (disk.unit / "block/sdx/dev").write_text(number)
    loop = disk.tree.root / "block/loop3/loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text(f"{path}\n")
    assert disk.uses == ("/dev/sdx backs loop3",)


def test_holder_is_called_by_its_device_mapper_name(disk: Disk) -> None:
    (disk.unit / "block/sdx/sdx2/holders/dm-0/dm").mkdir(parents=True)
    (disk.unit / "block/sdx/sdx2/holders/dm-0/dm/name").write_text("vg0-data\n")
    (disk.unit / "block/sdx/holders/md127").mkdir()
    disk.count_openings(2)
    assert disk.uses == ("/dev/sdx is held by md127", "/dev/sdx2 is held by vg0-data")


def test_partition_that_vanishes_is_no_use(disk: Disk) -> None:
    (disk.unit / "block/sdx/sdx2/dev").unlink()
    assert disk.uses == ()


def test_node_whose_number_cannot_be_read_is_not_passed_over(disk: Disk) -> None:
    """The job fails, and what it was to check counts as in use."""
    (disk.unit / "block/sdx/sdx2/dev").unlink()
    (disk.unit / "block/sdx/sdx2/dev").mkdir()
    with pytest.raises(IsADirectoryError):
        assert disk.uses


# --- processes ----------------------------------------------------------------------------------


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


def test_node_that_a_process_has_open_counts(disk: Disk) -> None:
    """A virtual machine opens its disk without O_EXCL."""
    opened(disk, "qemu-system-x86")
    assert disk.uses == ("/dev/sg3 is open in qemu-system-x86 (pid 815)",)
    assert disk.pauses == 1, "it is looked for again"


def test_node_outside_of_dev_counts(disk: Disk, tmp_path: Path) -> None:
    """A chroot or container may have nodes of its own."""
    process = opened(disk, "qemu", str(tmp_path / "node"))
    (tmp_path / "node").symlink_to("/dev/null")
    (process / "fdinfo/7").write_text("flags:\t0100002\nmnt_id:\t23\n")
    (disk.proc / "self/mountinfo").write_text(ROOT.replace("9p", "ext4"))
    (process / "mountinfo").write_text(ROOT.replace("9p", "ext4"))
    assert disk.uses == ("/dev/sg3 is open in qemu (pid 815)",)


def test_file_on_a_server_is_not_looked_at(disk: Disk, tmp_path: Path) -> None:
    """Its status may wait for a server that does not answer."""
    process = opened(disk, "sh", str(tmp_path / "node"))
    (tmp_path / "node").symlink_to("/dev/null")
    (process / "fdinfo/7").write_text("flags:\t0100002\nmnt_id:\t23\n")
    disk.count_openings(0)
    assert disk.uses == ()


@pytest.mark.parametrize("comm", ["multipathd", "(udev-worker)", "iscsid: scan"])
def test_programs_that_only_watch_are_no_users(disk: Disk, comm: str) -> None:
    opened(disk, comm)
    assert disk.uses == ()


@pytest.mark.parametrize("between", [0, 1])
def test_program_that_udev_runs_is_no_user_however_long_it_hangs(disk: Disk, between: int) -> None:
    """scsi_id asks a disk whose target is gone; with a shell between in some rules."""
    process = opened(disk, "scsi_id")
    for number in range(between):
        (process / "status").write_text(f"Name:\tx\nPPid:\t{600 + number}\n")
        process = disk.add_process(str(600 + number), ROOT, "sh")
    (process / "status").write_text("Name:\tx\nPPid:\t500\n")
    disk.add_process("500", ROOT, "(udev-worker)")
    assert disk.uses == ()


def test_process_that_closes_the_node_is_no_user(disk: Disk) -> None:
    """udev's rules open every disk that is new."""
    process = opened(disk, "scsi_id")

    def close() -> None:
        (process / "fd/7").unlink(missing_ok=True)
        disk.count_openings(0)

    disk.meanwhile = close
    assert disk.uses == ()


def test_different_processes_at_each_look_are_a_user(disk: Disk) -> None:
    process = opened(disk, "fio")
    names = iter("abcdef")

    def rename() -> None:
        (process / "comm").write_text(next(names))

    disk.meanwhile = rename
    assert disk.uses == ("/dev/sg3 is open in c (pid 815)",)


# --- what the kernel counts ---------------------------------------------------------------------


def test_opening_that_nothing_explains_is_a_doubt(disk: Disk) -> None:
    """As of a LUN that this machine exports again: only the kernel's count shows it."""
    disk.count_openings(1)
    assert disk.uses == UNEXPLAINED


def test_count_that_is_explained_a_moment_later_is_no_doubt(disk: Disk) -> None:
    disk.count_openings(1)
    disk.meanwhile = lambda: disk.count_openings(0)
    assert not disk.uses


def add_other(disk: Disk) -> Path:
    """Add a disk of another session, with a partition: 8:16 and 8:17."""
    other = disk.tree.add_unit(disk.tree.add_session(8, 6), 6, 0, "sdy", "sdy1")
    (other / "block/sdy/dev").write_text("8:16\n")
    (other / "block/sdy/sdy1/dev").write_text("8:17\n")
    return other


def test_users_of_other_disks_explain_the_count(disk: Disk) -> None:
    add_other(disk)
    disk.mount("38 23 8:16 / /other rw - ext4 /dev/sdy rw")
    disk.count_openings(2)  # and one is the other session's
    assert not disk.uses
    disk.count_openings(3)
    assert disk.uses == UNEXPLAINED


def test_scan_that_hangs_explains_one(disk: Disk) -> None:
    process = disk.add_process("815", ROOT, "iscsid: scan")
    (process / "fd/4").symlink_to("/sys/devices/platform/host5/scsi_host/host5/scan")
    disk.count_openings(1)
    assert not disk.uses


@pytest.mark.parametrize(
    "path",
    [
        "/sys/devices/platform/host9/scsi_host/host9/scan",
        "/sys/devices/platform/host5/session7/target5:0:0/5:0:0:1/vpd_pg83",
    ],
)
def test_other_files_of_a_host_explain_nothing(disk: Disk, path: str) -> None:
    """A scan of an adapter that is none of ours, a program that reads an attribute."""
    process = disk.add_process("815", ROOT, "sh")
    (process / "fd/4").symlink_to(path)
    disk.count_openings(1)
    assert disk.uses == UNEXPLAINED


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


# --- cost ---------------------------------------------------------------------------------------


def test_tables_and_processes_are_read_once_for_all_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1,000 disks and as many mounts, one read of the mounts for each disk took 9 seconds."""
    disk = Disk(tmp_path)
    devices = [disk.device]
    for number in range(1, 40):
        session = disk.tree.add_session(7 + number, 5 + number)
        unit = disk.tree.add_unit(session, 5 + number, 1, f"sdx{number}")
        (unit / f"block/sdx{number}/dev").write_text(f"8:{16 * number}\n")
        devices.append(ScsiDevice(unit, 1))
    disk.count_openings(39)
    reads = 0
    real = module._Survey._read_mounts

    def counted(survey: module._Survey, table: str) -> dict[int, str]:
        nonlocal reads
        reads += 1
        return real(survey, table)

    monkeypatch.setattr(module._Survey, "_read_mounts", counted)
    lines = [f"{n} 1 8:{16 * n} / /m{n} rw - ext4 /dev/sdx{n} rw" for n in range(40)]
    (disk.proc / "self/mountinfo").write_text("\n".join(lines))
    found = find_users(disk.tree.sysfs, devices, proc=disk.proc, pause=disk.pause)
    assert [len(uses) for uses in found] == [1] * 40
    assert reads == 2, "before the kernel's count is read, and after that"
