"""The logical units of a session and its connection's parameters, read from /sys.

Reads only, and needs no privilege: iscsi-ls uses it too. What vanishes meanwhile is left out.
"""

from __future__ import annotations

from pathlib import Path

from iscsid.devices.device_paths import device_at
from iscsid.devices.sysfs import ScsiDevice, Sysfs, entries, read_attribute, read_number
from iscsid.protocol.printable import printable
from iscsid.status.model import KEYS, LunStatus

_SECTOR = 512
"""Bytes: /sys counts sizes in these, whatever the disk's own sectors are."""

_KINDS = {
    0: "Direct-Access",
    1: "Sequential-Access",
    4: "WORM",
    5: "CD-ROM",
    7: "Optical Device",
    8: "Medium Changer",
    12: "Storage Array Controller",
    13: "Enclosure",
    14: "Direct-Access (simplified)",
    20: "Direct-Access (zoned)",
}
"""PERIPHERAL DEVICE TYPE, as in the answer to INQUIRY (SCSI Primary Commands)."""

_SESSION_FILES = {
    "initial_r2t": "initial_r2t",
    "immediate_data": "immediate_data",
    "first_burst_length": "first_burst_len",
    "max_burst_length": "max_burst_len",
    "max_outstanding_r2t": "max_outstanding_r2t",
    "data_pdu_in_order": "data_pdu_in_order",
    "data_sequence_in_order": "data_seq_in_order",
    "error_recovery_level": "erl",
}
_CONNECTION_FILES = {
    "header_digest": "header_digest",
    "data_digest": "data_digest",
    "max_recv_data_segment_length": "max_recv_dlength",
    "target_max_recv_data_segment_length": "max_xmit_dlength",
}
_FILES = _SESSION_FILES | _CONNECTION_FILES
_DIGESTS = ("None", "CRC32C")
_YES_OR_NO = ("No", "Yes")
_WORDS = {
    "header_digest": _DIGESTS,
    "data_digest": _DIGESTS,
    "initial_r2t": _YES_OR_NO,
    "immediate_data": _YES_OR_NO,
    "data_pdu_in_order": _YES_OR_NO,
    "data_sequence_in_order": _YES_OR_NO,
}
"""What the kernel's 0 and 1 stand for."""


def luns(sysfs: Sysfs, sid: int) -> list[LunStatus]:
    """Return the logical units of a session, with the nodes that the kernel has given them."""
    return [_lun(device) for device in sysfs.devices(sid)]


def parameters(sysfs: Sysfs, sid: int) -> dict[str, str | int]:
    """Return the parameters of a session in the kernel, by the standard's names of the keys."""
    session = sysfs.root / f"class/iscsi_session/session{sid}"
    connection = sysfs.root / f"class/iscsi_connection/connection{sid}:0"
    found: dict[str, str | int] = {}
    for name, key in KEYS.items():
        if name not in _FILES:
            continue  # the kernel has no use for it
        directory = session if name in _SESSION_FILES else connection
        number = read_number(directory / _FILES[name])
        words = _WORDS.get(name)
        if number is not None:
            found[key] = words[number] if words and 0 <= number < len(words) else number
    return found


def _lun(device: ScsiDevice) -> LunStatus:
    path = device.path
    kind = read_number(path / "type")
    disks = entries(path, "block/*")
    sectors = read_number(disks[0] / "size") if disks else None
    return LunStatus(
        lun=device.lun,
        links=_nodes(device),
        size=None if sectors is None else sectors * _SECTOR,
        vendor=_text(path / "vendor"),
        model=_text(path / "model"),
        revision=_text(path / "rev"),
        kind="" if kind is None else _KINDS.get(kind, f"type {kind}"),
        identity=_text(path / "wwid"),
    )


def _nodes(device: ScsiDevice) -> dict[str, str]:
    paths = dict.fromkeys((*device.class_devices(), *device.block_devices()))
    found = (device_at(str(entry), f"/dev/{entry.name.replace('!', '/')}") for entry in paths)
    return {device.link: device.node for device in found if device is not None}


def _text(path: Path) -> str:
    return printable(read_attribute(path) or "")
