"""Disks that are in use are found to be, by whatever; the same disks without a user are free."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from iscsid.facts import DiskUsersChecked, SessionStarted
from iscsid.kernel.interface import Kernel
from tests.support.programs import started
from tests.vm import disks, kernel_helpers
from tests.vm.tgtd import Tgtd


@pytest.fixture
def kernel(tgtd: Tgtd, tmp_path: Path) -> Iterator[Kernel]:
    tgtd.add_target(kernel_helpers.TARGET, {1: disks.make_file(tmp_path / "image", 64)})
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


Use = Callable[[Path], AbstractContextManager[str]]


@pytest.mark.parametrize("may_open", [True, False])
@pytest.mark.parametrize("use", [mounted, swap, held])
def test_used_partition_is_named_with_its_user(
    use: Use, may_open: bool, kernel: Kernel, session: SessionStarted, disk: Path
) -> None:
    with use(disk) as words:
        found = kernel.check_disks(session.sid, may_open=may_open)
        assert found == DiskUsersChecked(session.sid, (words,))
    found = kernel.check_disks(session.sid, may_open=may_open)
    assert found == DiskUsersChecked(session.sid, ())


def test_disk_that_is_opened_exclusively_is_found_by_opening(
    kernel: Kernel, session: SessionStarted, disk: Path
) -> None:
    descriptor = os.open(f"{disk}1", os.O_RDONLY | os.O_EXCL)
    try:
        passive = kernel.check_disks(session.sid, may_open=False)
        active = kernel.check_disks(session.sid, may_open=True)
    finally:
        os.close(descriptor)
    assert passive == DiskUsersChecked(session.sid, ())
    # The kernel counts the whole disk as taken when one of its partitions is.
    words = (f"{disk} is opened exclusively", f"{disk}1 is opened exclusively")
    assert active == DiskUsersChecked(session.sid, words)


def test_disk_that_is_only_being_read_is_free(
    kernel: Kernel, session: SessionStarted, disk: Path
) -> None:
    with disk.open("rb"):
        assert kernel.check_disks(session.sid, may_open=True) == DiskUsersChecked(session.sid, ())


@contextmanager
def elsewhere(command: str) -> Iterator[None]:
    """Run a command in a mount namespace of its own, which lasts as long as the block."""
    script = f"mount --make-rprivate / && {command} && echo done && read word"
    shell_there = ["unshare", "--mount", "sh", "-c", script]
    with started(shell_there, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin and shell.stdout
        assert shell.stdout.readline() == "done\n"
        yield
        shell.communicate("end\n")


def test_mount_in_another_name_space_is_found_by_opening(
    kernel: Kernel, session: SessionStarted, disk: Path
) -> None:
    disks.make_file_system(Path(f"{disk}2"))
    with elsewhere(f"mount {disk}2 /mnt"):
        assert kernel.check_disks(session.sid, may_open=False) == DiskUsersChecked(session.sid, ())
        assert kernel.check_disks(session.sid, may_open=True).uses
