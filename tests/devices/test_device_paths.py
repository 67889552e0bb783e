"""Which link a device gets, from its path in /sys alone."""

from __future__ import annotations

import pytest

from iscsid.devices.device_paths import device_at, is_session_device, unit_at
from iscsid.facts import Device

UNIT = "/sys/devices/platform/host6/session12/target6:0:0/6:0:0:5"

LINKS = [
    ("block/sda", "disk"),
    ("block/sdzz", "disk"),
    ("block/sda/sda1", "part1"),
    ("block/sdab/sdab128", "part128"),
    ("block/sr0", "cd"),
    ("scsi_generic/sg17", "generic"),
    ("scsi_tape/st0", "mt"),
    ("scsi_tape/st0l", "mtl"),
    ("scsi_tape/st10m", "mtm"),
    ("scsi_tape/st0a", "mta"),
    ("scsi_tape/nst0", "mtn"),
    ("scsi_tape/nst0l", "mtln"),
    ("scsi_tape/nst3m", "mtmn"),
    ("scsi_tape/nst0a", "mtan"),
]


@pytest.mark.parametrize(("path", "link"), LINKS)
def test_device_gets_the_classic_name(path: str, link: str) -> None:
    node = "/dev/" + path.rpartition("/")[2]
    assert device_at(f"{UNIT}/{path}", node, "naa.6000") == Device(
        path=f"{UNIT}/{path}", sid=12, lun=5, link=link, node=node, wwid="naa.6000"
    )


OTHER_PATHS = [
    "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
    "/sys/devices/platform/host6/session12/target6:0:0/6:0:0:5",
    "/sys/devices/platform/host6/session12/iscsi_session/session12",
    "/sys/devices/virtual/block/dm-0",
    f"{UNIT}/bsg/6:0:0:5",
    f"{UNIT}/scsi_disk/6:0:0:5",
    "",
]


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_device_of_no_session_gets_no_link(path: str) -> None:
    assert not is_session_device(path)
    assert device_at(path, "/dev/sda") is None


WITHOUT_LINK = [
    "block/loop0",
    "block/sda/queue",
    "block/sda/sda1/holders",
    "scsi_generic/sg0/device",
    "scsi_tape/st0/power",
    "scsi_tape/st0x",
    "scsi_tape/nst",
]


@pytest.mark.parametrize("path", WITHOUT_LINK)
def test_what_the_classic_has_no_name_for_gets_none(path: str) -> None:
    assert device_at(f"{UNIT}/{path}", "/dev/x") is None


def test_lun_is_the_last_number_of_the_unit() -> None:
    device = device_at(UNIT.replace("6:0:0:5", "6:0:0:16640") + "/block/sda", "/dev/sda")
    assert device is not None and device.lun == 16640


def test_logical_unit_is_distinguished_from_its_devices() -> None:
    assert unit_at(UNIT) == (12, 5)
    for other in (f"{UNIT}/block/sda", "/sys/devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0"):
        assert unit_at(other) is None
