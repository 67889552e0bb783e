"""A machine on which no udevd runs: links follow the kernel's own events."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.devices.udev import is_udevd_running
from tests.support.patience import wait_until
from tests.vm import disks
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
UDEVD = "/lib/systemd/systemd-udevd"


@pytest.fixture
def no_udevd() -> Iterator[None]:
    """Stop udevd for the time of the test."""
    disks.run("udevadm", "control", "--exit")
    wait_until(lambda: not is_udevd_running(), "udevd goes on")
    yield
    subprocess.run([UDEVD, "--daemon"], check=True, timeout=60)
    wait_until(is_udevd_running, "udevd does not start")


@pytest.mark.restarts(os.path.realpath(UDEVD))
def test_links_come_and_go_without_udevd(
    no_udevd: None, tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_line("no udevd runs")
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk, daemon.link(0, 0, 1, "generic"))
    disks.run("sfdisk", "--quiet", disk, text=",8M\n")
    daemon.wait_for_links(daemon.link(0, 0, 1, "part1"))
    disks.run("sfdisk", "--quiet", "--delete", disk)
    daemon.wait_for_no_links(daemon.link(0, 0, 1, "part1"))
    assert daemon.stop(signal.SIGINT) == 0
    assert not disk.is_symlink()
