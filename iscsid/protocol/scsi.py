"""The SCSI that iscsid uses itself: INQUIRY, TEST UNIT READY, and the responses to them.

The kernel does all other SCSI. The PDUs are defined as those of ``pdu`` are, each field with
its place in the header; ``scsi_pdu`` makes one of what ``pdu`` leaves undecoded. The words of SCSI
are those of its Architecture Model and Primary Commands. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar

from iscsid.protocol.codes import RESERVED_TAG, Opcode, OpenIntEnum
from iscsid.protocol.pdu import (
    NO_LUN,
    Bits,
    KnownPdu,
    Number,
    Octets,
    Pdu,
    RawPdu,
    RequestPdu,
    ResponsePdu,
)

CDB_LENGTH = 16
SIMPLE = 1
"""The task attribute of a command that may be reordered among others."""
_INQUIRY = 0x12
_EVPD = 0x01


class ScsiStatus(OpenIntEnum):
    """The status of a command (SCSI Architecture Model)."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class SenseKey(OpenIntEnum):
    """The sense key of a CHECK CONDITION (SCSI Primary Commands)."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    ABORTED_COMMAND = 0xB


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiCommand(RequestPdu):
    """RFC 7143, section 11.3; one that sends no data, so that F is always set."""

    opcode: ClassVar = Opcode.SCSI_COMMAND
    always: ClassVar = 0x80

    read: Annotated[bool, Bits(1, 6)] = False
    attribute: Annotated[int, Bits(1, 0, 3, int)] = SIMPLE
    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    expected_data_transfer_length: Annotated[int, Number(20, 4)] = 0
    cdb: Annotated[bytes, Octets(32, CDB_LENGTH)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiResponse(ResponsePdu):
    """RFC 7143, section 11.4; the data is the sense data behind a length of two octets."""

    opcode: ClassVar = Opcode.SCSI_RESPONSE
    always: ClassVar = 0x80

    response: Annotated[int, Number(2, 1)] = 0
    """0: the command was completed at the target, and ``status`` counts."""
    status: Annotated[ScsiStatus, Number(3, 1, ScsiStatus)] = ScsiStatus.GOOD
    residual_count: Annotated[int, Number(44, 4)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiDataIn(ResponsePdu):
    """RFC 7143, section 11.7; with ``has_status`` no SCSI Response follows."""

    opcode: ClassVar = Opcode.SCSI_DATA_IN

    final: Annotated[bool, Bits(1, 7)] = True
    has_status: Annotated[bool, Bits(1, 0)] = False
    """Without it the PDU is not counted: its StatSN and status mean nothing."""
    status: Annotated[ScsiStatus, Number(3, 1, ScsiStatus)] = ScsiStatus.GOOD
    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    target_transfer_tag: Annotated[int, Number(20, 4)] = RESERVED_TAG
    data_sn: Annotated[int, Number(36, 4)] = 0
    buffer_offset: Annotated[int, Number(40, 4)] = 0
    residual_count: Annotated[int, Number(44, 4)] = 0


SCSI_PDUS: dict[int, type[KnownPdu]] = {
    kind.opcode: kind for kind in (ScsiCommand, ScsiResponse, ScsiDataIn)
}


def scsi_pdu(pdu: Pdu) -> Pdu:
    """Return what is a SCSI PDU as one, and any other as it is."""
    kind = SCSI_PDUS.get(pdu.opcode)
    return kind.from_header(pdu.header, pdu.data) if kind and isinstance(pdu, RawPdu) else pdu


@dataclass(frozen=True, slots=True)
class Sense:
    """Why a command did not succeed: the sense key, and the additional sense code in two parts."""

    key: SenseKey
    code: int
    qualifier: int

    def __str__(self) -> str:
        return f"{self.key}, {self.code:02x}/{self.qualifier:02x}"


_NO_UNIT = 3
_NOT_CONNECTED = 0x3F
_NOT_SUPPORTED = Sense(SenseKey.ILLEGAL_REQUEST, 0x25, 0x00)


def parse_sense(data: bytes) -> Sense | None:
    """Read the data segment of a SCSI Response; ``None`` if it contains no sense data."""
    length = int.from_bytes(data[:2], "big")
    return read_sense(data[2 : 2 + length])


def read_sense(data: bytes) -> Sense | None:
    """Read sense data as it is, without the length that iSCSI puts before it.

    Both formats of sense data are known, the fixed one (70h, 71h) and that of descriptors (72h,
    73h); what is cut off counts as zero.
    """
    sense = data.ljust(14, b"\0")
    match sense[0] & 0x7F:
        case 0x70 | 0x71:
            return Sense(SenseKey(sense[2] & 0x0F), sense[12], sense[13])
        case 0x72 | 0x73:
            return Sense(SenseKey(sense[1] & 0x0F), sense[2], sense[3])
        case _:
            return None


def is_unit_there(status: int, data: bytes, sense: bytes) -> bool | None:
    """Read the answer to an INQUIRY without a page: whether there is a logical unit at that LUN.

    ``None``: the answer leaves it open. The standard has a target answer for a LUN that it does
    not have with a peripheral qualifier of 3; LIO ends the command with LOGICAL UNIT NOT SUPPORTED
    (25/00) instead, and answers for a LUN 0 that it lacks that none is connected.
    """
    if status == ScsiStatus.GOOD and data:
        return data[0] >> 5 != _NO_UNIT and data[0] != _NOT_CONNECTED
    found = read_sense(sense) if status == ScsiStatus.CHECK_CONDITION else None
    return False if found is not None and found == _NOT_SUPPORTED else None


def inquiry(page: int, allocation_length: int) -> bytes:
    """Return the command descriptor block that asks for one page of vital product data."""
    block = bytes([_INQUIRY, _EVPD, page]) + allocation_length.to_bytes(2, "big")
    return block.ljust(CDB_LENGTH, b"\0")


def standard_inquiry(allocation_length: int) -> bytes:
    """Return the command descriptor block that asks what kind of logical unit there is."""
    return bytes([_INQUIRY, 0, 0]) + allocation_length.to_bytes(2, "big") + b"\0"


def test_unit_ready() -> bytes:
    """Return the command descriptor block that asks whether a logical unit can be used now."""
    return bytes(CDB_LENGTH)


def encode_lun(number: int) -> bytes:
    """Return the eight octets that the kernel means by the last number of a SCSI device's name.

    They are four levels of two octets each. The kernel puts the first level into the number's
    lowest sixteen bits as it stands, the addressing method in its topmost two bits included: 5 is
    LUN 5 in peripheral device addressing, 16640 (4100h) is LUN 256 in flat space addressing.
    """
    return b"".join((number >> shift & 0xFFFF).to_bytes(2, "big") for shift in (0, 16, 32, 48))


_FLAT_SPACE = 0x4000
"""The addressing method of LUNs from 256 to 16383; some targets use it for all."""


def array_lun(number: int) -> int:
    """Return the LUN as the array calls it, of the kernel's number: 300 for 16684 (412Ch)."""
    return number & 0x3FFF if number & ~0x3FFF == _FLAT_SPACE else number


def kernel_luns(lun: int) -> tuple[int, ...]:
    """Return the numbers that the kernel may give to a LUN of the array, the likelier first."""
    if lun >= _FLAT_SPACE:
        return (lun,)
    in_flat_space = lun | _FLAT_SPACE
    return (lun, in_flat_space) if lun < 256 else (in_flat_space, lun)


def is_permitted(number: int, luns: Collection[int] | None) -> bool:
    """Whether the kernel's ``number`` is one of these LUNs of the array; ``None`` is all."""
    return luns is None or number in luns or array_lun(number) in luns
