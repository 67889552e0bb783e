"""From a start of iscsid to disks whose names never change: all of it, on a real kernel."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.vm import disks, sessions
from tests.vm.conftest import Target, with_tgtd
from tests.vm.daemon import Daemon, show_tree
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
BLUE = "iqn.2003-02.org.example:blue"


@pytest.mark.both_kernels
def test_a_file_system_is_made_and_read_back_through_a_link(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    target.add_target(RED, {1: disks.make_file(tmp_path / "disk", 64)})
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.write_then_read_back(disk, tmp_path / "mount")
    assert daemon.wait_for_bindings(RED) == {RED: (0, 0)}
    assert disk.parent.joinpath("generic").is_char_device()


@pytest.mark.parametrize("tgtd", ["[::1]:3260"], indirect=True)
def test_a_target_is_found_and_used_by_ipv6(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure("DiscoveryAddress=[::1]")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    address = sessions.connection_attribute(sessions.session_of(RED), "address")
    assert IPv6Address(address).is_loopback


def test_three_targets_with_five_disks_and_partitions(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    files = {name: disks.make_file(tmp_path / name, 64) for name in ("r1", "r2", "r3", "g", "b")}
    target.add_target(RED, {1: files["r1"], 2: files["r2"], 5: files["r3"]})
    target.add_target(GREEN, {1: files["g"]})
    target.add_target(BLUE, {1: files["b"]})
    disks.run("sfdisk", "--quiet", files["g"], text=",16M\n,24M\n")
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN, BLUE)
    red, green, blue = (numbers[name] for name in (RED, GREEN, BLUE))
    wanted = [daemon.link(*red, 1), daemon.link(*red, 2), daemon.link(*red, 5)]
    wanted += [daemon.link(*green, 1, name) for name in ("disk", "part1", "part2")]
    wanted += [daemon.link(*blue, 1)]
    daemon.wait_for_links(*wanted)
    assert sessions.target_names() == sorted([RED, GREEN, BLUE])
    # Whatever is written through a link is found in the file behind that very logical unit.
    behind = {"r1": (*red, 1), "r2": (*red, 2), "r3": (*red, 5), "b": (*blue, 1)}
    for name, numbers_of_unit in behind.items():
        disks.write_at_start(daemon.link(*numbers_of_unit), f"this is {name}".encode())
    for name in behind:
        disks.assert_starts_with(files[name], f"this is {name}".encode())
    disks.write_then_read_back(daemon.link(*green, 1, "part2"), tmp_path / "mount")
    assert not daemon.link(*green, 1, "part3").is_symlink(), "a link to a partition that is not"


@with_tgtd
def test_links_go_with_their_disk_however_busy_udev_is_and_no_other_link_is_touched(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    """The name of the disk is free at once, and udev may report it much later."""
    target.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    target.add_target(GREEN, {1: disks.make_file(tmp_path / "green", 16)})
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN)
    red, green = daemon.link(*numbers[RED], 1), daemon.link(*numbers[GREEN], 1)
    daemon.wait_for_links(red, green)
    before = devices_below(green.parent.parent)
    disks.run("udevadm", "settle", "--timeout=60")
    disks.run("udevadm", "control", "--stop-exec-queue")
    try:
        sessions.delete_devices(sessions.session_of(RED)).wait(timeout=PATIENCE)
        daemon.wait_for_no_links(red, red.with_name("generic"))
    finally:
        disks.run("udevadm", "control", "--start-exec-queue")
    disks.run("udevadm", "settle", "--timeout=60")
    assert not red.is_symlink()
    assert devices_below(green.parent.parent) == before


def devices_below(directory: Path) -> dict[str, str]:
    """Return the disks that the links below a directory lead to."""
    lines = (line.split(" -> ") for line in show_tree(directory))
    return {link: node for link, node in lines if link.endswith("disk")}
