"""Logical units and parameters in /sys are read without trust and without privilege."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsid.devices.lun_details import luns, parameters
from iscsid.status.model import LunStatus
from tests.support.sysfs_tree import CONNECTION, SESSION, SysfsTree


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path)


def describe(unit: Path, **attributes: str) -> None:
    for name, text in attributes.items():
        (unit / name).write_text(f"{text}\n")


def test_disk_is_described_with_its_nodes(tree: SysfsTree) -> None:
    unit = tree.add_unit(tree.add_session(1, 6), 6, 5, "sda", "sda1", "sda15")
    (unit / "scsi_generic/sg3").mkdir(parents=True)
    (unit / "block/sda/size").write_text("131072\n")
    describe(unit, vendor="IET     ", model="VIRTUAL-DISK", rev="0001", type="0", wwid="naa.6000")
    assert luns(tree.sysfs, 1) == [
        LunStatus(
            lun=5,
            links={
                "disk": "/dev/sda",
                "part1": "/dev/sda1",
                "part15": "/dev/sda15",
                "generic": "/dev/sg3",
            },
            size=64 << 20,
            vendor="IET",
            model="VIRTUAL-DISK",
            revision="0001",
            kind="Direct-Access",
            identity="naa.6000",
        )
    ]


def test_tape_has_all_its_modes(tree: SysfsTree) -> None:
    unit = tree.add_unit(tree.add_session(1, 6), 6, 0)
    for name in ("st0", "st0l", "st0m", "st0a", "nst0", "nst0l", "nst0m", "nst0a"):
        (unit / "scsi_tape" / name).mkdir(parents=True)
    describe(unit, type="1")
    (found,) = luns(tree.sysfs, 1)
    assert set(found.links) == {"mt", "mtl", "mtm", "mta", "mtn", "mtln", "mtmn", "mtan"}
    assert found.links["mtan"] == "/dev/nst0a"
    assert (found.kind, found.size) == ("Sequential-Access", None)


def test_unit_that_reports_nothing_is_still_there(tree: SysfsTree) -> None:
    unit = tree.add_unit(tree.add_session(1, 6), 6, 255)
    assert luns(tree.sysfs, 1) == [LunStatus(lun=255)]
    describe(unit, type="30", vendor="evil\x1b[2J\u202e", model="x" * 5000)
    (found,) = luns(tree.sysfs, 1)
    assert found.kind == "type 30"
    assert found.vendor.isprintable() and len(found.model) < 200


def test_session_that_is_gone_has_nothing(tree: SysfsTree) -> None:
    assert luns(tree.sysfs, 9) == [] and parameters(tree.sysfs, 9) == {}


def test_parameters_are_in_the_standards_words(tree: SysfsTree) -> None:
    session = {
        **SESSION,
        "initial_r2t": "1",
        "immediate_data": "0",
        "first_burst_len": "65536",
        "max_burst_len": "262144",
        "max_outstanding_r2t": "1",
        "data_pdu_in_order": "1",
        "data_seq_in_order": "1",
        "erl": "0",
    }
    connection = {
        **CONNECTION,
        "header_digest": "1",
        "data_digest": "0",
        "max_recv_dlength": "131072",
        "max_xmit_dlength": "8192",
    }
    tree.add_session(1, 6, session=session, connection=connection)
    assert parameters(tree.sysfs, 1) == {
        "HeaderDigest": "CRC32C",
        "DataDigest": "None",
        "InitialR2T": "Yes",
        "ImmediateData": "No",
        "MaxRecvDataSegmentLength": 131072,
        "TargetMaxRecvDataSegmentLength": 8192,
        "FirstBurstLength": 65536,
        "MaxBurstLength": 262144,
        "MaxOutstandingR2T": 1,
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
        "ErrorRecoveryLevel": 0,
    }


def test_number_that_makes_no_sense_is_shown_as_it_is(tree: SysfsTree) -> None:
    tree.add_session(1, 6, session={**SESSION, "initial_r2t": "-1", "erl": "soon"})
    assert parameters(tree.sysfs, 1) == {"InitialR2T": -1}
