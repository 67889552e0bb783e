"""udev's events as facts: real disks, a CD and a tape of a real target."""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from iscsid.devices.sysfs import Sysfs
from iscsid.devices.udev import Removals, Udev, UdevFact
from iscsid.facts import Device, DeviceAppeared, DeviceVanished, SessionStarted
from tests.vm import disks, kernel_helpers
from tests.vm.tgtd import Tgtd

TAPES = {"mt", "mtl", "mtm", "mta", "mtn", "mtln", "mtmn", "mtan"}


@pytest.fixture
def udev() -> Udev:
    return Udev()


@pytest.fixture
def session(tgtd: Tgtd, tmp_path: Path) -> Iterator[SessionStarted]:
    """A session with a disk at LUN 1, a CD at LUN 2 and a tape at LUN 3, not yet scanned."""
    tape = tmp_path / "tape"
    medium = ["--barcode", "ISCSID01", "--size", "16", "--type", "data", "--file", str(tape)]
    disks.run("tgtimg", "--op", "new", "--device-type", "tape", *medium)
    tgtd.add_target(kernel_helpers.TARGET, {1: disks.make_file(tmp_path / "disk", 32)})
    tgtd.add_lun(kernel_helpers.TARGET, 2, disks.make_file(tmp_path / "cd", 4), kind="cd")
    tgtd.add_lun(kernel_helpers.TARGET, 3, tape, kind="tape")
    with kernel_helpers.opened() as kernel:
        yield kernel_helpers.start(kernel)


def links(facts: Sequence[UdevFact]) -> set[tuple[int, str]]:
    return {(f.device.lun, f.device.link) for f in facts if isinstance(f, DeviceAppeared)}


def devices(facts: Sequence[UdevFact]) -> list[Device]:
    return [fact.device for fact in facts if isinstance(fact, DeviceAppeared)]


def settle() -> None:
    disks.run("udevadm", "settle", "--timeout=120")


def until_link(udev: Udev, lun: int, link: str) -> Device:
    """Read events until a device with this link has appeared."""
    return kernel_helpers.until(
        lambda: next(
            (d for d in devices(udev.read_events()) if (d.lun, d.link) == (lun, link)), None
        )
    )


@pytest.mark.both_kernels
def test_every_kind_of_device_gets_its_link(udev: Udev, session: SessionStarted) -> None:
    seen: set[tuple[int, str]] = set()
    wanted = {(1, "disk"), (1, "generic"), (2, "cd"), (2, "generic"), (3, "generic")}
    wanted |= {(3, tape) for tape in TAPES}
    Sysfs().scan(session.host_no)

    def look() -> bool:
        seen.update(links(udev.read_events()))
        return wanted <= seen

    kernel_helpers.until(look)
    settle()
    found = udev.enumerate()
    assert links(found) == wanted | {(0, "generic")}  # tgtd's LUN 0 is a controller
    for device in devices(found):
        assert device.sid == session.sid and Path(device.node).exists()
        assert device.wwid.startswith("naa.")
    by_link = {(device.lun, device.link): Path(device.node).name for device in devices(found)}
    assert by_link[1, "disk"].startswith("sd") and by_link[2, "cd"].startswith("sr")
    assert by_link[3, "mtan"].startswith("nst") and by_link[3, "mtan"].endswith("a")


def test_partitions_come_and_go_with_the_table(udev: Udev, session: SessionStarted) -> None:
    disk = kernel_helpers.disk_of(session, 1)
    disks.partition(disk, ["4M", "4M"])
    second = until_link(udev, 1, "part2")
    assert second.node == f"{disk}2"
    disks.partition(disk, ["8M"])
    kernel_helpers.until(lambda: DeviceVanished(second.path) in udev.read_events())
    assert {link for lun, link in links(udev.enumerate()) if lun == 1} == {
        "disk",
        "part1",
        "generic",
    }


def test_deleted_unit_vanishes_node_by_node(udev: Udev, session: SessionStarted) -> None:
    removals = Removals()
    kernel_helpers.disk_of(session, 1)
    settle()
    assert select.select([removals], [], [], 0) == ([], [], []), "woken for what is no removal"
    paths = {device.path for device in devices(udev.read_events()) if device.lun == 1}
    kernel_helpers.unit_of(session.sid, 1).delete()
    received_at_once = {fact.path for fact in removals.read_events()}
    assert paths <= received_at_once, "the kernel has sent it before the deletion returned"
    gone: set[str] = set()

    def look() -> bool:
        gone.update(fact.path for fact in udev.read_events() if isinstance(fact, DeviceVanished))
        return paths <= gone

    kernel_helpers.until(look)
    assert not any(device.lun == 1 for device in devices(udev.enumerate()))


def test_change_reports_the_device_again(udev: Udev, session: SessionStarted) -> None:
    disk = kernel_helpers.disk_of(session, 1)
    settle()
    udev.read_events()
    Path("/sys/class/block", disk.name, "uevent").write_text("change")
    assert until_link(udev, 1, "disk").node == str(disk)


def test_nothing_is_missed_when_events_are_lost(udev: Udev, session: SessionStarted) -> None:
    disk = kernel_helpers.disk_of(session, 1)
    settle()
    before = devices(udev.read_events())
    udev._monitor.set_receive_buffer_size(1)
    kernel_helpers.unit_of(session.sid, 2).delete()
    disks.partition(disk, ["2M", "2M", "2M"])
    settle()
    facts = udev.read_events()
    assert {(1, f"part{number}") for number in range(1, 4)} <= links(facts)
    gone = {fact.path for fact in facts if isinstance(fact, DeviceVanished)}
    assert gone == {device.path for device in before if device.lun == 2}


def test_devices_of_no_session_are_left_out(udev: Udev, session: SessionStarted) -> None:
    kernel_helpers.disk_of(session, 1)
    for path in Path("/sys/class/block").iterdir():
        (path / "uevent").write_text("change")
    settle()
    assert {device.sid for device in devices(udev.read_events())} == {session.sid}
    assert len(list(Path("/sys/class/block").iterdir())) > 2, "no other device to leave out"


def test_devices_of_a_destroyed_session_all_vanish(udev: Udev, tgtd: Tgtd, tmp_path: Path) -> None:
    tgtd.add_target(kernel_helpers.TARGET, {1: disks.make_file(tmp_path / "disk", 32)})
    with kernel_helpers.opened() as kernel:
        session = kernel_helpers.start(kernel)
        kernel_helpers.disk_of(session, 1)
        settle()
        there = {device.path for device in devices(udev.read_events())}
        kernel_helpers.until_destroyed(kernel, session.sid)
        settle()
        gone = {fact.path for fact in udev.read_events() if isinstance(fact, DeviceVanished)}
    assert there and there <= gone
    assert udev.enumerate() == []
