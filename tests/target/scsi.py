"""The little SCSI that an initiator needs before it uses a disk.

Made for ``iscsi-ls`` and ``iscsi-inq``, which are not written here: they can only judge the
scripted target's login if it answers INQUIRY, REPORT LUNS, TEST UNIT READY and READ CAPACITY too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from iscsid.protocol.pdu import padding

BLOCK_LENGTH = 512
BLOCKS = 131072
GOOD, CHECK_CONDITION = 0x00, 0x02
INVALID_OPERATION_CODE, INVALID_FIELD, NO_SUCH_LUN = (0x20, 0x00), (0x24, 0x00), (0x25, 0x00)


@dataclass(frozen=True, slots=True)
class Sense:
    """An ILLEGAL REQUEST and what is wrong with it."""

    code: tuple[int, int]

    def encode(self) -> bytes:
        return bytes([0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, *self.code, 0, 0, 0, 0])


def answer(header: bytes, luns: Mapping[int, str], stat_sn: int, exp_cmd_sn: int) -> bytes:
    """Return the PDU that answers a SCSI Command: Data-In with status, or a SCSI Response.

    ``luns`` are those that there are, with the serial number of each.
    """
    command = header[32:48]
    lun = header[9] if header[8] == 0 else (header[8] & 0x3F) << 8 | header[9]
    result = _perform(command, lun, luns)
    numbers = struct.pack(">III", stat_sn, exp_cmd_sn, (exp_cmd_sn + 31) % 2**32)
    if isinstance(result, Sense):
        return _response(header, CHECK_CONDITION, numbers, result.encode())
    wanted = int.from_bytes(header[20:24], "big")
    data = result[: min(wanted, _allocation(command))]
    if not data:
        return _response(header, GOOD, numbers, b"")
    residue = wanted - len(data)
    start = struct.pack(">BBBB", 0x25, 0x81 | (0x02 if residue else 0), 0, GOOD)
    segment = len(data).to_bytes(4, "big") + header[8:20] + b"\xff" * 4 + numbers
    return start + segment + struct.pack(">III", 0, 0, residue) + data + bytes(padding(len(data)))


def _response(header: bytes, status: int, numbers: bytes, sense: bytes) -> bytes:
    data = len(sense).to_bytes(2, "big") + sense if sense else b""
    start = struct.pack(">BBBB", 0x21, 0x80, 0, status) + len(data).to_bytes(4, "big")
    middle = bytes(8) + header[16:20] + bytes(4)
    return start + middle + numbers + bytes(12) + data + bytes(padding(len(data)))


def _allocation(command: bytes) -> int:
    """Return how much the initiator has room for, as the command has it."""
    match command[0]:
        case 0x12:
            return int.from_bytes(command[3:5], "big")
        case 0xA0:
            return int.from_bytes(command[6:10], "big")
        case 0x9E:
            return int.from_bytes(command[10:14], "big")
        case _:
            return 65536


def serial(lun: int) -> str:
    """Return the serial number of a logical unit that was given no other."""
    return f"SCRIPTED{lun:04d}"


def _perform(command: bytes, lun: int, luns: Mapping[int, str]) -> bytes | Sense:
    match command[0]:
        case 0xA0:
            entries = b"".join(struct.pack(">BB6x", 0, each) for each in luns)
            return struct.pack(">I4x", len(entries)) + entries
        case 0x12:
            return _inquiry(command, luns.get(lun))
        case _ if lun not in luns:
            return Sense(NO_SUCH_LUN)
        case 0x00:
            return b""
        case 0x25:
            return struct.pack(">II", BLOCKS - 1, BLOCK_LENGTH)
        case 0x9E if command[1] & 0x1F == 0x10:
            return struct.pack(">QI20x", BLOCKS - 1, BLOCK_LENGTH)
        case _:
            return Sense(INVALID_OPERATION_CODE)


def _inquiry(command: bytes, named: str | None) -> bytes | Sense:
    peripheral = 0x7F if named is None else 0x00
    if not command[1] & 1:
        text = b"ISCSID  " + b"SCRIPTED TARGET " + b"0001"
        return bytes([peripheral, 0, 6, 2, len(text) + 3, 0, 0, 2]) + text
    number = (named or "").encode()
    pages = {0x00: bytes([0x00, 0x80, 0x83]), 0x80: number, 0x83: _identifier(number)}
    page = pages.get(command[2])
    if page is None:
        return Sense(INVALID_FIELD)
    return struct.pack(">BBH", peripheral, command[2], len(page)) + page


def _identifier(number: bytes) -> bytes:
    return bytes([0x02, 0x01, 0, 8 + len(number)]) + b"ISCSID  " + number


def identification_page(named: str) -> bytes:
    """Return page 83h of the logical unit with this serial number."""
    identifier = _identifier(named.encode())
    return struct.pack(">BBH", 0, 0x83, len(identifier)) + identifier
