"""tshark as an independent witness of what iscsid sends.

PDUs are written into a capture file, each as one TCP segment of one connection, and tshark prints
what it sees in them. It judges headers, lengths and padding; on key=value text it is lenient.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

Dissected = dict[str, list[str]]
"""The values of each field that tshark found in one PDU; flags are True or False, or 1 or 0."""

FIELDS = (
    "frame.protocols",
    "iscsi.opcode",
    "iscsi.I",
    "iscsi.totalahslength",
    "iscsi.datasegmentlength",
    "iscsi.login.T",
    "iscsi.login.C",
    "iscsi.login.csg",
    "iscsi.login.nsg",
    "iscsi.login.status",
    "iscsi.versionmax",
    "iscsi.versionmin",
    "iscsi.versionactive",
    "iscsi.isid",
    "iscsi.tsih",
    "iscsi.cid",
    "iscsi.initiatortasktag",
    "iscsi.targettransfertag",
    "iscsi.cmdsn",
    "iscsi.expstatsn",
    "iscsi.statsn",
    "iscsi.expcmdsn",
    "iscsi.maxcmdsn",
    "iscsi.text.F",
    "iscsi.text.C",
    "iscsi.logout.reason",
    "iscsi.logout.response",
    "iscsi.time2wait",
    "iscsi.time2retain",
    "iscsi.asyncevent",
    "iscsi.eventvendorcode",
    "iscsi.parameter1",
    "iscsi.parameter2",
    "iscsi.parameter3",
    "iscsi.reject.reason",
    "iscsi.datasn",
    "iscsi.keyvalue",
    "iscsi.padding",
    "iscsi.pingdata",
)

_PORTAL_PORT = 3260
_INITIATOR_PORT = 40000
_RAW_IP = 101
_SEPARATOR, _AGGREGATOR = "\x1e", "\x1f"


def require() -> None:
    """Skip the test that is running where there is no tshark."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (Debian package tshark)")


def dissect(pdus: Iterable[tuple[bool, bytes]], directory: Path) -> list[Dissected]:
    """Return what tshark sees in each PDU; the flag is whether the initiator sent it."""
    file = directory / "session.pcap"
    segments = list(pdus)
    file.write_bytes(_capture_file(segments))
    command = ["tshark", "-r", str(file), "-d", f"tcp.port=={_PORTAL_PORT},iscsi"]
    command += ["-o", "iscsi.bogus_pdu_filter:FALSE", "-o", "iscsi.demand_good_f_bit:TRUE"]
    command += ["-T", "fields", "-E", f"separator={_SEPARATOR}", "-E", f"aggregator={_AGGREGATOR}"]
    for field in FIELDS:
        command += ["-e", field]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.removesuffix("\n").split("\n")
    assert len(lines) == len(segments), finished.stdout
    return [_parse_line(line) for line in lines]


def _parse_line(line: str) -> Dissected:
    values = line.split(_SEPARATOR)
    return {
        field: value.split(_AGGREGATOR)
        for field, value in zip(FIELDS, values, strict=True)
        if value
    }


def _capture_file(segments: list[tuple[bool, bytes]]) -> bytes:
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, _RAW_IP)
    sent = {True: 1, False: 1}
    for number, (is_from_initiator, data) in enumerate(segments):
        sequence, acknowledged = sent[is_from_initiator], sent[not is_from_initiator]
        packet = _packet(is_from_initiator, sequence, acknowledged, data)
        file += struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet
        sent[is_from_initiator] += len(data)
    return file


def _packet(is_from_initiator: bool, sequence: int, acknowledged: int, data: bytes) -> bytes:
    """Make an IPv4 packet with one TCP segment; checksums of zero are not looked at."""
    initiator, target = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
    ports = (_INITIATOR_PORT, _PORTAL_PORT)
    if not is_from_initiator:
        initiator, target, ports = target, initiator, (ports[1], ports[0])
    tcp = struct.pack(">HHIIHHHH", *ports, sequence, acknowledged, 0x5018, 65535, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 1, 0, 64, 6, 0) + initiator + target
    return ip + tcp + data
