"""Disks that are in use are found to be, in every way a disk can be used; the others are free."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from iscsid.devices.disk_users import find_users
from iscsid.devices.sysfs import Sysfs
from iscsid.facts import SessionStarted
from iscsid.kernel.interface import Kernel
from tests.vm import disks, kernel_helpers
from tests.vm.tgtd import Tgtd


@pytest.fixture
def kernel(tgtd: Tgtd, tmp_path: Path) -> Iterator[Kernel]:
    luns = {1: disks.make_file(tmp_path / "image", 64), 2: disks.make_file(tmp_path / "other", 8)}
    tgtd.add_target(kernel_helpers.TARGET, luns)
    with kernel_helpers.opened() as kernel:
        yield kernel


@pytest.fixture
def session(kernel: Kernel) -> SessionStarted:
    return kernel_helpers.start(kernel)


@pytest.fixture
def disk(session: SessionStarted) -> Path:
    """A disk with two partitions."""
    disk = kernel_helpers.disk_of(session, 1)
    disks.partition(disk, ["24M", "24M"])
    kernel_helpers.until(Path(f"{disk}2").exists)
    return disk


@contextmanager
def mounted(disk: Path) -> Iterator[str]:
    second = Path(f"{disk}2")
    disks.make_file_system(second)
    with disks.mounted(second, Path("/run/a place")):
        yield f"{second} is mounted on /run/a place"


@contextmanager
def swap(disk: Path) -> Iterator[str]:
    disks.run("mkswap", f"{disk}1")
    disks.run("swapon", f"{disk}1")
    try:
        yield f"{disk}1 is swap"
    finally:
        disks.run("swapoff", f"{disk}1")


@contextmanager
def held(disk: Path) -> Iterator[str]:
    disks.run("modprobe", "dm_mod")
    disks.run("dmsetup", "create", "iscsid-test", "--table", f"0 1024 linear {disk}2 0")
    try:
        yield f"{disk}2 is held by iscsid-test"
    finally:
        disks.run("udevadm", "settle")
        disks.run("dmsetup", "remove", "--retry", "iscsid-test")


@contextmanager
def open_elsewhere(disk: Path) -> Iterator[str]:
    """A process that has the disk open without O_EXCL, as a virtual machine has."""
    with disk.open("rb") as file, subprocess.Popen(["sleep", "600"], stdin=file) as sleep:
        file.close()
        try:
            yield f"{disk} is open in sleep (pid {sleep.pid})"
        finally:
            sleep.kill()


@contextmanager
def opened_exclusively(disk: Path) -> Iterator[str]:
    descriptor = os.open(f"{disk}1", os.O_RDONLY | os.O_EXCL)
    try:
        name = Path("/proc/self/comm").read_text().strip()
        yield f"{disk}1 is open in {name} (pid {os.getpid()})"
    finally:
        os.close(descriptor)


@contextmanager
def generic_node_open(disk: Path) -> Iterator[str]:
    (generic,) = Path(f"/sys/block/{disk.name}/device/scsi_generic").iterdir()
    with open_elsewhere(Path("/dev", generic.name)) as words:
        yield words


@contextmanager
def loop_device(disk: Path) -> Iterator[str]:
    disks.run("modprobe", "loop")
    loop = disks.run("losetup", "--show", "-f", f"{disk}1").strip()
    try:
        yield f"{disk}1 backs {loop.removeprefix('/dev/')}"
    finally:
        disks.run("losetup", "-d", loop)


@contextmanager
def mounted_lazily(disk: Path) -> Iterator[str]:
    """A file system that is in no table of mounts any more, and is still written to."""
    second = Path(f"{disk}2")
    disks.make_file_system(second)
    place = Path("/run/lazy")
    place.mkdir(exist_ok=True)
    disks.run("mount", second, place)
    with (place / "file").open("w") as file:
        disks.run("umount", "--lazy", place)
        yield f"{second} carries a live ext4 file system"
        file.write("x")


@contextmanager
def mounted_in_another_namespace(disk: Path) -> Iterator[str]:
    """The namespace of a process."""
    disks.make_file_system(Path(f"{disk}2"))
    script = f"mount --make-rprivate / && mount {disk}2 /mnt && echo done && read word"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as shell:
        assert shell.stdin and shell.stdout
        assert shell.stdout.readline() == "done\n"
        yield f"{disk}2 is mounted on /mnt"
        shell.communicate("end\n")


@contextmanager
def mounted_in_a_kept_namespace(disk: Path) -> Iterator[str]:
    """A namespace that no process is in: a mount of its file keeps it alive."""
    disks.make_file_system(Path(f"{disk}2"))
    place = Path("/run/namespaces")
    place.mkdir(exist_ok=True)
    disks.run("mount", "-t", "tmpfs", "none", place)
    disks.run("mount", "--make-private", place)
    (place / "kept").touch()
    disks.run("unshare", f"--mount={place}/kept", "mount", f"{disk}2", "/mnt")
    try:
        yield f"{disk}2 is mounted on /mnt"
    finally:
        disks.run("umount", place / "kept")
        disks.run("umount", place)


def configure_export(device: Path | str, kind: str, control: str) -> Path:
    disks.run("modprobe", "-a", "target_core_iblock", "target_core_file")
    backstore = Path(f"/sys/kernel/config/target/core/{kind}/again")
    backstore.mkdir(parents=True)
    (backstore / "control").write_text(control.format(device))
    (backstore / "enable").write_text("1")
    return backstore


IBLOCK = ("iblock_7", "udev_path={}")
FILEIO = ("fileio_7", "fd_dev_name={},fd_dev_size=4194304")


@contextmanager
def exported_by_lio(disk: Path, export: tuple[str, str]) -> Iterator[str]:
    """No mount, no holder and no process has it."""
    backstore = configure_export(f"{disk}1", *export)
    try:
        yield f"{disk}1 is exported as {export[0]}/again"
    finally:
        backstore.rmdir()
        backstore.parent.rmdir()


def exported_as_a_disk(disk: Path) -> AbstractContextManager[str]:
    return exported_by_lio(disk, IBLOCK)


def exported_as_a_file(disk: Path) -> AbstractContextManager[str]:
    return exported_by_lio(disk, FILEIO)


Use = Callable[[Path], AbstractContextManager[str]]


def uses_of(session: SessionStarted) -> tuple[str, ...]:
    sysfs = Sysfs()
    return tuple(use for uses in find_users(sysfs, sysfs.devices(session.sid)) for use in uses)


@pytest.mark.parametrize(
    "use",
    [
        mounted,
        mounted_in_another_namespace,
        mounted_in_a_kept_namespace,
        mounted_lazily,
        swap,
        held,
        loop_device,
        open_elsewhere,
        opened_exclusively,
        generic_node_open,
        exported_as_a_disk,
        exported_as_a_file,
    ],
)
def test_disk_in_use_is_named_with_its_user_and_is_free_afterwards(
    use: Use, session: SessionStarted, disk: Path
) -> None:
    with use(disk) as words:
        assert uses_of(session) == (words,)
    kernel_helpers.until(lambda: uses_of(session) == ())


@contextmanager
def exported(device: Path | str) -> Iterator[None]:
    """LIO on a disk with its configuration covered: only the count of openings shows it."""
    backstore = configure_export(device, *IBLOCK)
    try:
        disks.run("mount", "-t", "tmpfs", "none", "/sys/kernel/config")
        try:
            yield
        finally:
            disks.run("umount", "/sys/kernel/config")
    finally:
        backstore.rmdir()
        backstore.parent.rmdir()


UNEXPLAINED = (
    "could not be checked: the kernel counts 1 opening of iSCSI disks more than users were found"
)


def test_disk_that_is_used_where_nothing_shows_it_is_a_doubt(
    session: SessionStarted, disk: Path
) -> None:
    with exported(f"{disk}1"):
        assert set(uses_of(session)) == {UNEXPLAINED}
    kernel_helpers.until(lambda: uses_of(session) == ())


@contextmanager
def two_volumes_on_a_partition(disk: Path) -> Iterator[None]:
    """The kernel counts both as one, up to Linux 6.4."""
    disks.run("modprobe", "dm_mod")
    for name in ("one", "two"):
        disks.run("dmsetup", "create", name, "--table", f"0 1024 linear {disk}2 0")
    try:
        disks.run("udevadm", "settle")
        yield
    finally:
        disks.run("udevadm", "settle")
        for name in ("one", "two"):
            disks.run("dmsetup", "remove", "--retry", name)


@contextmanager
def opened_once_by_two_processes(disk: Path) -> Iterator[None]:
    with disk.open("rb") as file, subprocess.Popen(["sleep", "600"], stdin=file) as sleep:
        try:
            yield
        finally:
            sleep.kill()


@contextmanager
def opened_as_bsg_and_as_a_path(disk: Path) -> Iterator[None]:
    """Neither holds a reference."""
    (node,) = Path(f"/sys/block/{disk.name}/device/bsg").iterdir()
    descriptors = [os.open(f"/dev/bsg/{node.name}", os.O_RDWR), os.open(disk, os.O_PATH)]
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def removed_while_it_is_used(disk: Path) -> Iterator[None]:
    """By processes and a volume: an opening of the disk, two of a partition and two of others."""
    (generic,) = Path(f"/sys/block/{disk.name}/device/scsi_generic").iterdir()
    nodes = (disk, f"{disk}1", f"{disk}1", f"/dev/{generic.name}")
    with held(disk):
        disks.run("udevadm", "settle")
        # Done before every removal of a session or LUN.
        find_users(Sysfs(), Sysfs().all_devices())
        descriptors = [os.open(node, os.O_RDONLY | os.O_NONBLOCK) for node in nodes]
        try:
            Path(f"/sys/block/{disk.name}/device/delete").write_text("1")
            yield
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


@pytest.mark.parametrize(
    "use",
    [
        two_volumes_on_a_partition,
        opened_once_by_two_processes,
        opened_as_bsg_and_as_a_path,
        pytest.param(removed_while_it_is_used, marks=pytest.mark.both_kernels),
    ],
)
def test_users_of_one_disk_hide_no_export_of_another(
    use: Callable[[Path], AbstractContextManager[None]], session: SessionStarted, disk: Path
) -> None:
    other = kernel_helpers.disk_of(session, 2)
    disks.run("udevadm", "settle")
    with use(disk):
        kernel_helpers.until(lambda: uses_of_lun(session, 2) == ())
        with exported(other):
            assert uses_of_lun(session, 2) == (UNEXPLAINED,)


def uses_of_lun(session: SessionStarted, lun: int) -> tuple[str, ...]:
    sysfs = Sysfs()
    devices = [device for device in sysfs.devices(session.sid) if device.lun == lun]
    (uses,) = find_users(sysfs, devices)
    return uses


@pytest.mark.both_kernels
@pytest.mark.parametrize(("wanted", "counted"), [("-", 2), ("9", 1)])
def test_scan_that_hangs_hides_no_export(
    tgtd: Tgtd, session: SessionStarted, disk: Path, wanted: str, counted: int
) -> None:
    """The kernel counts a scan that asks for all LUNs, and none that looks for a single one."""
    other = kernel_helpers.disk_of(session, 2)
    disks.run("udevadm", "settle")
    kernel_helpers.until(lambda: uses_of(session) == ())
    write = f"read word; echo 0 0 {wanted} >/sys/class/scsi_host/host{session.host_no}/scan"
    # In this order: the scan ends when the target goes on.
    with (
        subprocess.Popen(["sh", "-c", write], stdin=subprocess.PIPE, text=True) as scan,
        tgtd.frozen(),
    ):
        assert scan.stdin
        scan.stdin.write("now\n")
        scan.stdin.flush()
        stack = Path(f"/proc/{scan.pid}/stack")
        kernel_helpers.until(lambda: "blk_execute_rq" in stack.read_text())
        assert int(Path("/sys/module/iscsi_tcp/refcnt").read_text()) == counted
        assert uses_of_lun(session, 2) == ()
        with exported(other):
            assert uses_of_lun(session, 2) == (UNEXPLAINED,)


@pytest.mark.both_kernels
@pytest.mark.emulated("user-mode Linux has no /proc/PID/syscall")
def test_open_that_waits_for_its_target_is_a_use_and_hides_no_export(
    tgtd: Tgtd, session: SessionStarted, tmp_path: Path
) -> None:
    """To open a CD sends commands, and until they are answered the process has no descriptor."""
    tgtd.add_lun(kernel_helpers.TARGET, 3, disks.make_file(tmp_path / "cd", 4), kind="cd")
    other = kernel_helpers.disk_of(session, 2)
    unit = kernel_helpers.unit_of(session.sid, 3)
    node = kernel_helpers.until(lambda: [Path("/dev", path.name) for path in unit.block_devices()])
    disks.run("udevadm", "settle")
    kernel_helpers.until(lambda: uses_of(session) == ())
    read = f"read word; exec head -c 1 {node[0]}"
    with (
        subprocess.Popen(["sh", "-c", read], stdin=subprocess.PIPE, text=True) as reader,
        tgtd.frozen(),
    ):
        assert reader.stdin
        reader.stdin.write("now\n")
        reader.stdin.flush()
        stack = Path(f"/proc/{reader.pid}/stack")
        kernel_helpers.until(lambda: "sr_block_open" in stack.read_text())
        assert uses_of_lun(session, 3) == (f"{node[0]} is open in head (pid {reader.pid})",)
        assert uses_of_lun(session, 2) == ()
        with exported(other):
            assert uses_of_lun(session, 2) == (UNEXPLAINED,)


def test_removed_disk_that_may_be_of_another_driver_is_named_with_its_user(
    session: SessionStarted, disk: Path
) -> None:
    """As a memory stick that was pulled out: it explains no opening of an iSCSI disk."""
    other = kernel_helpers.disk_of(session, 2)
    disks.run("udevadm", "settle")
    with other.open("rb"):
        # Nothing has checked the users of this disk, so its node has no mark.
        Path(f"/sys/block/{other.name}/device/delete").write_text("1")
        kernel_helpers.until(lambda: not other.exists())
        name = Path("/proc/self/comm").read_text().strip()
        guess = f"{other} (deleted) is open in {name} (pid {os.getpid()})"
        (use,) = set(uses_of(session))
        assert use == f"{UNEXPLAINED} (perhaps of a removed one: {guess})"
    kernel_helpers.until(lambda: uses_of(session) == ())
