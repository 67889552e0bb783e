"""The ten PDUs iscsid uses, to and from octets (RFC 7143, section 11).

Each class lists its fields in the standard's order, each with its ``Place`` in the 48 octets of the
Basic Header Segment (RFC 7143, section 11.2.1): one table encodes and decodes. All numbers are
big-endian and unsigned. Digests are in ``pdu_reader`` and ``digests``, the PDUs of SCSI commands in
``scsi``; additional header segments are skipped. Pure; whether a PDU may come *now* is decided by
the exchanges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, ClassVar, Self, get_args, get_type_hints

from iscsid.errors import MalformedPdu
from iscsid.protocol.codes import (
    RESERVED_TAG,
    AsyncEvent,
    LogoutOutcome,
    LogoutReason,
    Opcode,
    RejectReason,
    Stage,
)
from iscsid.protocol.parameters import Isid

BHS_LENGTH = 48
MAX_DATA_SEGMENT_LENGTH = 0xFFFFFF

Value = int | bytes
"""What a header field holds; ``bool`` and enumerations are integers here."""


@dataclass(frozen=True, slots=True)
class Number:
    """An integer of ``size`` octets; ``kind`` makes an enumeration's member of it."""

    offset: int
    size: int
    kind: Callable[[int], int] = int

    def take(self, header: bytes) -> Value:
        return self.kind(int.from_bytes(header[self.offset : self.offset + self.size], "big"))

    def put(self, header: bytearray, value: Value) -> None:
        header[self.offset : self.offset + self.size] = int(value).to_bytes(self.size, "big")


@dataclass(frozen=True, slots=True)
class Octets:
    """``size`` octets as they are."""

    offset: int
    size: int

    def take(self, header: bytes) -> Value:
        return bytes(header[self.offset : self.offset + self.size])

    def put(self, header: bytearray, value: Value) -> None:
        if not isinstance(value, bytes) or len(value) != self.size:
            raise ValueError(f"{self.size} octets wanted at {self.offset}, not {value!r}")
        header[self.offset : self.offset + self.size] = value


@dataclass(frozen=True, slots=True)
class Bits:
    """``width`` bits of one octet, the lowest of them ``shift`` above bit 2**0."""

    offset: int
    shift: int
    width: int = 1
    kind: Callable[[int], int] = bool

    def take(self, header: bytes) -> Value:
        return self.kind(header[self.offset] >> self.shift & (1 << self.width) - 1)

    def put(self, header: bytearray, value: Value) -> None:
        number = int(value)
        if not 0 <= number < 1 << self.width:
            raise ValueError(f"{number} does not fit into {self.width} bits")
        header[self.offset] |= number << self.shift


Place = Number | Octets | Bits


def data_segment_length(header: bytes | bytearray) -> int:
    """Return the length of the data segment in octets, padding not counted."""
    return int.from_bytes(header[5:8], "big")


def ahs_length(header: bytes | bytearray) -> int:
    """Return the length of the additional header segments in octets: at most 1020."""
    return header[4] * 4


def padding(length: int) -> int:
    """Return how many octets fill ``length`` up to a multiple of four."""
    return -length % 4


NO_LUN = bytes(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdu(ABC):
    """What every PDU has: a header, and a data segment, perhaps an empty one."""

    data: bytes = field(default=b"", repr=False)
    """Left out of ``repr``: it may be long, and contain secrets."""

    @property
    @abstractmethod
    def opcode(self) -> Opcode:
        """What kind of PDU this is."""

    def encode(self) -> bytes:
        """Return header, data segment and zero padding; no digests."""
        if len(self.data) > MAX_DATA_SEGMENT_LENGTH:
            raise ValueError(f"{len(self.data)} octets of data do not fit into one PDU")
        return self._encode_header() + self.data + bytes(padding(len(self.data)))

    @abstractmethod
    def _encode_header(self) -> bytes:
        """Return the 48 octets of the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPdu(Pdu):
    """A PDU whose header iscsid makes of its fields, and its fields of a header."""

    opcode: ClassVar[Opcode]
    always: ClassVar[int] = 0
    """The bits of header octet 1 that are set in every PDU of this kind."""

    def _encode_header(self) -> bytes:
        header = bytearray(BHS_LENGTH)
        header[0] = self.opcode
        header[1] = self.always
        header[5:8] = len(self.data).to_bytes(3, "big")
        for name, place in layout(type(self)):
            place.put(header, getattr(self, name))
        return bytes(header)

    @classmethod
    def from_header(cls, header: bytes, data: bytes) -> Self:
        values = {name: place.take(header) for name, place in layout(cls)}
        return cls(**values, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPdu(Pdu):
    """A PDU that iscsid does not decode: a SCSI Response for instance, or an unknown opcode."""

    header: bytes

    @property
    def opcode(self) -> Opcode:
        return opcode_of(self.header)

    def _encode_header(self) -> bytes:
        return self.header


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPdu(KnownPdu):
    """What every PDU from an initiator has."""

    immediate: Annotated[bool, Bits(0, 6)] = True
    initiator_task_tag: Annotated[int, Number(16, 4)]
    cmd_sn: Annotated[int, Number(24, 4)]
    exp_stat_sn: Annotated[int, Number(28, 4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePdu(KnownPdu):
    """What every PDU from a target has."""

    initiator_task_tag: Annotated[int, Number(16, 4)] = RESERVED_TAG
    stat_sn: Annotated[int, Number(24, 4)]
    exp_cmd_sn: Annotated[int, Number(28, 4)]
    max_cmd_sn: Annotated[int, Number(32, 4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRequest(RequestPdu):
    """RFC 7143, section 11.12."""

    opcode: ClassVar = Opcode.LOGIN_REQUEST

    transit: Annotated[bool, Bits(1, 7)]
    continue_: Annotated[bool, Bits(1, 6)] = False
    current_stage: Annotated[Stage, Bits(1, 2, 2, Stage)]
    next_stage: Annotated[Stage, Bits(1, 0, 2, Stage)] = Stage.SECURITY_NEGOTIATION
    version_max: Annotated[int, Number(2, 1)] = 0
    version_min: Annotated[int, Number(3, 1)] = 0
    isid: Annotated[Isid, Octets(8, 6)]
    tsih: Annotated[int, Number(14, 2)] = 0
    cid: Annotated[int, Number(20, 2)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResponse(ResponsePdu):
    """RFC 7143, section 11.13."""

    opcode: ClassVar = Opcode.LOGIN_RESPONSE

    transit: Annotated[bool, Bits(1, 7)]
    continue_: Annotated[bool, Bits(1, 6)] = False
    current_stage: Annotated[Stage, Bits(1, 2, 2, Stage)]
    next_stage: Annotated[Stage, Bits(1, 0, 2, Stage)] = Stage.SECURITY_NEGOTIATION
    version_max: Annotated[int, Number(2, 1)] = 0
    version_active: Annotated[int, Number(3, 1)] = 0
    isid: Annotated[Isid, Octets(8, 6)]
    tsih: Annotated[int, Number(14, 2)] = 0
    status_class: Annotated[int, Number(36, 1)] = 0
    status_detail: Annotated[int, Number(37, 1)] = 0

    @property
    def status(self) -> int:
        """Status-Class and Status-Detail as one number, 0x0203 for instance."""
        return self.status_class << 8 | self.status_detail


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest(RequestPdu):
    """RFC 7143, section 11.10."""

    opcode: ClassVar = Opcode.TEXT_REQUEST

    final: Annotated[bool, Bits(1, 7)]
    continue_: Annotated[bool, Bits(1, 6)] = False
    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    target_transfer_tag: Annotated[int, Number(20, 4)] = RESERVED_TAG


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResponse(ResponsePdu):
    """RFC 7143, section 11.11."""

    opcode: ClassVar = Opcode.TEXT_RESPONSE

    final: Annotated[bool, Bits(1, 7)]
    continue_: Annotated[bool, Bits(1, 6)] = False
    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    target_transfer_tag: Annotated[int, Number(20, 4)] = RESERVED_TAG


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutRequest(RequestPdu):
    """RFC 7143, section 11.14."""

    opcode: ClassVar = Opcode.LOGOUT_REQUEST
    always: ClassVar = 0x80

    reason: Annotated[LogoutReason, Bits(1, 0, 7, LogoutReason)] = LogoutReason.CLOSE_SESSION
    cid: Annotated[int, Number(20, 2)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutResponse(ResponsePdu):
    """RFC 7143, section 11.15; the two times are in seconds."""

    opcode: ClassVar = Opcode.LOGOUT_RESPONSE
    always: ClassVar = 0x80

    response: Annotated[LogoutOutcome, Number(2, 1, LogoutOutcome)] = LogoutOutcome.CLOSED
    time2wait: Annotated[int, Number(40, 2)] = 0
    time2retain: Annotated[int, Number(42, 2)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NopOut(RequestPdu):
    """RFC 7143, section 11.18."""

    opcode: ClassVar = Opcode.NOP_OUT
    always: ClassVar = 0x80

    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    target_transfer_tag: Annotated[int, Number(20, 4)] = RESERVED_TAG


@dataclass(frozen=True, slots=True, kw_only=True)
class NopIn(ResponsePdu):
    """RFC 7143, section 11.19."""

    opcode: ClassVar = Opcode.NOP_IN
    always: ClassVar = 0x80

    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    target_transfer_tag: Annotated[int, Number(20, 4)] = RESERVED_TAG


def answer_to_ping(ping: NopIn, *, cmd_sn: int, exp_stat_sn: int) -> NopOut | None:
    """Return the immediate NOP-Out that ``ping`` asks for; ``None`` if it asks for none."""
    if ping.target_transfer_tag == RESERVED_TAG:
        return None
    return NopOut(
        lun=ping.lun,
        initiator_task_tag=RESERVED_TAG,
        target_transfer_tag=ping.target_transfer_tag,
        cmd_sn=cmd_sn,
        exp_stat_sn=exp_stat_sn,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncMessage(ResponsePdu):
    """RFC 7143, section 11.9; what the parameters mean depends on the event."""

    opcode: ClassVar = Opcode.ASYNC_MESSAGE
    always: ClassVar = 0x80

    lun: Annotated[bytes, Octets(8, 8)] = NO_LUN
    async_event: Annotated[AsyncEvent, Number(36, 1, AsyncEvent)]
    async_vcode: Annotated[int, Number(37, 1)] = 0
    parameter1: Annotated[int, Number(38, 2)] = 0
    parameter2: Annotated[int, Number(40, 2)] = 0
    parameter3: Annotated[int, Number(42, 2)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(ResponsePdu):
    """RFC 7143, section 11.17; the data is the header of the PDU that was rejected."""

    opcode: ClassVar = Opcode.REJECT
    always: ClassVar = 0x80

    reason: Annotated[RejectReason, Number(2, 1, RejectReason)]
    data_sn: Annotated[int, Number(36, 4)] = 0


KNOWN_PDUS: dict[int, type[KnownPdu]] = {
    kind.opcode: kind
    for kind in (
        NopOut,
        LoginRequest,
        TextRequest,
        LogoutRequest,
        NopIn,
        LoginResponse,
        TextResponse,
        LogoutResponse,
        AsyncMessage,
        Reject,
    )
}


@cache
def layout(kind: type[KnownPdu]) -> tuple[tuple[str, Place], ...]:
    """Return the header fields of a kind of PDU with their places."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (name, place)
        for name, hint in hints.items()
        for place in get_args(hint)[1:]
        if isinstance(place, Place)
    )


LAYOUTS = {kind: layout(kind) for kind in KNOWN_PDUS.values()}


def opcode_of(header: bytes | bytearray) -> Opcode:
    """Return what kind of PDU a header begins."""
    return Opcode(header[0] & 0x3F)


def decode(header: bytes, data: bytes) -> Pdu:
    """Make a PDU of a Basic Header Segment and its data segment, padding taken off.

    Raises ``MalformedPdu`` if the header is not 48 octets, or announces other data than given.
    """
    if len(header) != BHS_LENGTH:
        raise MalformedPdu(f"a PDU header has 48 octets, not {len(header)}", section="11.2.1")
    if len(data) != data_segment_length(header):
        raise MalformedPdu(
            f"a PDU announces {data_segment_length(header)} octets of data and has {len(data)}",
            section="11.2.1.6",
        )
    kind = KNOWN_PDUS.get(opcode_of(header))
    if kind is None:
        return RawPdu(header=bytes(header), data=bytes(data))
    return kind.from_header(header, bytes(data))
