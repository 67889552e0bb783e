"""What uses a disk: read from trees that look like /proc and /sys.

Real mounts, swap, device-mapper, loop devices and processes are tried in the virtual machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsid.devices import disk_users as module
from iscsid.devices.disk_users import find_users
from iscsid.devices.sysfs import ScsiDevice
from tests.support.used_disk import (
    NO_SWAP,
    ROOT,
    UNEXPLAINED,
    Disk,
    block_device,
    opened,
)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


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
