"""What is no SCSI device is not known; those that are one are in the virtual machine."""

from __future__ import annotations

from pathlib import Path

from iscsid.devices.scsi_generic import is_there


def test_node_that_cannot_be_opened_or_asked_gives_no_answer(tmp_path: Path) -> None:
    assert is_there(str(tmp_path / "sg9")) is None
    assert is_there("/dev/null") is None
