"""Links follow what a target does to its logical units, and are never wrong.

One scenario on each kind of target. Quotations are from the manual page iscsid(8).
``ISCSID_TEST_LUNS`` is how many of the 256 LUNs are there; each takes the machine half a second or
more, so that all of them want an ``ISCSID_TEST_PATIENCE`` of 3.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks
from tests.vm.conftest import Target, with_lio
from tests.vm.daemon import Daemon, show_tree

RED = "iqn.2003-02.org.example:red"
ZEBRA = "iqn.2003-02.org.example:zebra"
"""Stays when the other goes: LIO listens only while it has a target."""
LUNS = int(os.environ.get("ISCSID_TEST_LUNS", "32"))
SERIALS = [f"{number}2345678-9abc-def0-1234-56789abcdef{number}" for number in range(5)]


class Scenario:
    """One target, the daemon, and the link to each disk."""

    def __init__(self, target: Target, daemon: Daemon, directory: Path) -> None:
        self.target, self.daemon, self._directory = target, daemon, directory
        self._files = 0

    def link(self, lun: int, name: str = "disk") -> Path:
        return self.daemon.link(0, 0, lun, name)

    def export(self, lun: int, serial: str, megabytes: int = 16) -> None:
        self._files += 1
        file = disks.make_file(self._directory / f"disk{self._files}", megabytes)
        self.target.add_lun(RED, lun, file, serial=serial)

    def hang_up(self) -> None:
        self.daemon.send(signal.SIGHUP)

    def until(self, question: Callable[[], bool], what: str) -> None:
        wait_until(question, lambda: f"{what}\n{self.tree}\n{self.daemon.log()}")

    @property
    def tree(self) -> list[str]:
        return list(show_tree(self.daemon.tree))

    @contextmanager
    def mounted(self, lun: int) -> Iterator[None]:
        """Mount the disk; at the end its file system may have lost the disk already."""
        disks.make_file_system(self.link(lun))
        root = self._directory / "root"
        with disks.mounted(self.link(lun), root):
            disks.write_pattern(root / "pattern", 1, seed="written while it was there")
            yield


def sectors(link: Path) -> int:
    """Return the size of a disk; 0 while it has no link."""
    try:
        return int(Path("/sys/class/block", link.readlink().name, "size").read_text())
    except FileNotFoundError:
        return 0


def node(link: Path) -> Path:
    return Path(link.readlink())


@pytest.fixture
def scenario(target: Target, daemon: Daemon, tmp_path: Path) -> Scenario:
    return Scenario(target, daemon, tmp_path)


def test_units_come_grow_change_and_go(scenario: Scenario, tmp_path: Path) -> None:
    """Neither has a disk at LUN 0: tgtd answers there as a controller, LIO not at all."""
    target, daemon = scenario.target, scenario.daemon
    target.add_target(RED, {})
    target.add_target(ZEBRA, {1: disks.make_file(tmp_path / "zebra", 8)})
    for lun in (1, 2, 3):
        scenario.export(lun, SERIALS[lun])
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    daemon.wait_for_links(*(scenario.link(lun) for lun in (1, 2, 3)))
    with scenario.mounted(3):
        check_that_new_one_is_found_at_the_targets_word(scenario)
        check_that_grown_one_keeps_its_name(scenario)
        check_that_exchanged_one_has_no_name(scenario)
        check_that_one_that_is_gone_goes_if_it_is_not_in_use(scenario)
    scenario.hang_up()
    daemon.wait_for_no_links(scenario.link(3), scenario.link(3, "generic"))
    # A program of udev's that still has a removed disk open would be a doubt about the others.
    disks.run("udevadm", "settle", "--timeout=60")
    check_that_nothing_is_left_of_a_target_that_is_gone(scenario)


def check_that_new_one_is_found_at_the_targets_word(scenario: Scenario) -> None:
    """Both targets report changed LUNs with a unit attention: the next command brings it."""
    scenario.export(4, SERIALS[4])
    disks.forget_cache(scenario.link(1))
    disks.read_start(scenario.link(1), 512)
    scenario.daemon.wait_for_line("the LUNs of the target have changed")
    scenario.daemon.wait_for_links(scenario.link(4), scenario.link(4, "generic"))


def check_that_grown_one_keeps_its_name(scenario: Scenario) -> None:
    before = node(scenario.link(1))
    scenario.target.remove_lun(RED, 1)
    scenario.export(1, SERIALS[1], megabytes=24)
    scenario.hang_up()
    scenario.until(lambda: sectors(scenario.link(1)) == 24 * 2048, "the disk has not grown")
    assert node(scenario.link(1)) == before


def check_that_exchanged_one_has_no_name(scenario: Scenario) -> None:
    """ "a name never moves silently to another disk. SIGHUP accepts the exchange." """
    disk = node(scenario.link(2))
    scenario.target.remove_lun(RED, 2)
    scenario.export(2, SERIALS[0])
    scenario.hang_up()
    scenario.daemon.wait_for_no_links(scenario.link(2), scenario.link(2, "generic"))
    assert "send SIGHUP to accept it" in scenario.daemon.wait_for_line(
        "bus0/target0/lun2", "another"
    )
    assert disk.is_block_device(), "the disk itself is the administrator's affair"
    scenario.hang_up()
    scenario.daemon.wait_for_links(scenario.link(2), scenario.link(2, "generic"))
    assert node(scenario.link(2)) == disk


def check_that_one_that_is_gone_goes_if_it_is_not_in_use(scenario: Scenario) -> None:
    idle, busy = node(scenario.link(4)), node(scenario.link(3))
    for lun in (3, 4):
        scenario.target.remove_lun(RED, lun)
    scenario.hang_up()
    scenario.daemon.wait_for_no_links(scenario.link(4), scenario.link(4, "generic"))
    scenario.until(lambda: not idle.exists(), f"{idle} is still there")
    line = scenario.daemon.wait_for_line("LUN 3 is gone at the target", "in use")
    assert f"{busy} is mounted on" in line
    assert scenario.link(3).exists() and node(scenario.link(3)) == busy
    assert len(scenario.daemon.lines_about("LUN 3 is gone at the target")) == 1


def check_that_nothing_is_left_of_a_target_that_is_gone(scenario: Scenario) -> None:
    scenario.target.remove_target(RED)
    scenario.hang_up()
    directory = scenario.daemon.tree / "bus0/target0"
    scenario.until(lambda: not directory.exists(), "links of a target that is gone")
    assert scenario.daemon.link(0, 1, 1).exists()


@pytest.mark.limit(300)
@with_lio
def test_many_logical_units_up_to_the_last_number(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    """ "All LUNs from 0 to 255 of a target can be used together." """
    luns = sorted({*range(0, 256, 256 // LUNS), 255})
    files = {lun: disks.make_file(tmp_path / f"disk{lun}", 1) for lun in luns}
    target.add_target(RED, files)
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    links = {lun: daemon.link(0, 0, lun) for lun in luns}
    daemon.wait_for_links(*links.values())
    for lun in (luns[0], luns[1], luns[-2], luns[-1]):
        disks.write_at_start(links[lun], f"unit {lun}".encode())
        disks.assert_starts_with(files[lun], f"unit {lun}".encode())
    assert daemon.stop(signal.SIGINT) == 0
    assert not daemon.tree.exists()
