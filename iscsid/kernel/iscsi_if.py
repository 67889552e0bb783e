"""The layouts of the kernel's iSCSI messages: requests go in, replies and events come out.

Pure. Its numbers are those of ``include/scsi/iscsi_if.h``, the same from Linux 5.10 to 7.3, on
64-bit machines. Every message is a netlink header (16 bytes), a ``struct iscsi_uevent`` (56 bytes:
type, error, transport handle, then a union for the request and one for the reply or event) and a
payload.

Requests that have no function here are never sent. GET_STATS is left out on purpose: the kernel
multicasts its answer in a loop that does not end while no socket receives it. The builders that can
crash the kernel in the wrong order (bind, start) are called by ``connection`` alone.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from iscsid.facts import (
    ConnectionLost,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    SessionUnrecoverable,
)

NETLINK_ISCSI = 8
EVENT_GROUP = 1
"""The multicast group of the events for a daemon; group 2 is iscsiuio's."""

BASIC_HEADER_LENGTH = 48
_MESSAGE = Struct("=IHHII")
_UEVENT = Struct("=IiQ24s16s")
_UEVENT_LENGTH = _MESSAGE.size + _UEVENT.size
_TAG_OFFSET = 20
"""Within the union of the request: four bytes that no request of ours uses, and that the kernel
returns untouched. Its replies carry no sequence number, so this is where ours travels."""

_SID = Struct("=I")
_SID_CID = Struct("=II")
_CREATE_SESSION = Struct("=IHH")
_BIND = Struct("=IIQI")
_SET_PARAM = Struct("=IIII")
_STOP = Struct("=IIQI")
_SEND_PDU = Struct("=IIII")
_TWO_NUMBERS = Struct("=II8x")
_THREE_NUMBERS = Struct("=III4x")
_RETCODE = Struct("=i12x")
_CID = 0
"""A session has one connection, and this is its number everywhere."""


class Command(IntEnum):
    """The requests we send, by the kernel's names (ISCSI_UEVENT_...)."""

    CREATE_SESSION = 11
    CREATE_CONN = 13
    DESTROY_CONN = 14
    BIND_CONN = 15
    SET_PARAM = 16
    START_CONN = 17
    STOP_CONN = 18
    SEND_PDU = 19
    UNBIND_SESSION = 27
    DESTROY_SESSION_ASYNC = 43


_COMMANDS = frozenset(Command)
_ANSWERED_BY_RETCODE = frozenset({Command.BIND_CONN, Command.START_CONN, Command.SEND_PDU})
"""Their refusal is a return code beside a faultless reply."""


class Notice(IntEnum):
    """The kernel's events (ISCSI_KEVENT_...), and its refusal of a request."""

    RECV_PDU = 101
    CONN_ERROR = 102
    IF_ERROR = 103
    DESTROY_SESSION = 104
    UNBIND_SESSION = 105


class StopFlag(IntEnum):
    """How a connection is stopped. SUSPEND (2) is not implemented by any kernel."""

    TERM = 1
    RECOVER = 3


_HOST_IS_GOING = 1018
_CONNECTION_ERRORS = {
    1001: "DataSN out of order",
    1002: "a wrong data offset",
    1003: "MaxCmdSN out of range",
    1004: "ExpCmdSN out of range",
    1005: "an unexpected opcode",
    1006: "a data segment longer than we declared",
    1007: "an additional header segment of wrong length",
    1008: "a violation of the protocol",
    1009: "a wrong LUN",
    1010: "an unknown task tag",
    1011: "the connection failed",
    1012: "R2TSN out of order",
    1013: "the session failed",
    1014: "a wrong header digest",
    1015: "a wrong data digest",
    1016: "a parameter was not found",
    1017: "a PDU for no known command",
    1019: "sending failed",
    1020: "the target closed the connection",
    1021: "the SCSI error handler dropped the session",
    1022: "a ping was not answered in time",
}

Event = ConnectionLost | SessionUnrecoverable | PduReceived | SessionUnbound | SessionDestroyed


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel; ``step`` completes "the kernel refused to ..."."""

    command: Command
    step: str
    union: bytes
    payload: bytes = b""

    def pack(self, handle: int, tag: int) -> bytes:
        """Return the whole message, padded so that another may follow it."""
        union = self.union.ljust(_TAG_OFFSET, b"\0") + tag.to_bytes(4, "little")
        length = _UEVENT_LENGTH + len(self.payload)
        message = _MESSAGE.pack(length, self.command, 0, 0, 0)
        message += _UEVENT.pack(self.command, 0, handle, union, bytes(16)) + self.payload
        return message + bytes(-length % 4)


@dataclass(frozen=True, slots=True)
class Reply:
    """The kernel's answer to one request. ``error`` is a positive errno, 0 for success."""

    tag: int
    error: int
    sid: int
    """Of a created session or connection; without meaning otherwise."""
    host_no: int
    """Of a created session; without meaning otherwise."""


# --- requests -----------------------------------------------------------------------------------


def create_session(initial_cmd_sn: int, cmds_max: int, queue_depth: int) -> Request:
    """``cmds_max``: tasks of the session; ``queue_depth``: commands per LUN; 0 is 128 and 32."""
    union = _CREATE_SESSION.pack(initial_cmd_sn, cmds_max, queue_depth)
    return Request(Command.CREATE_SESSION, "create a session", union)


def destroy_session_async(sid: int) -> Request:
    """Return at once; the DESTROY_SESSION event is the end.

    The other request (12) returns when the session is gone, and every request waits meanwhile.
    """
    return Request(Command.DESTROY_SESSION_ASYNC, "destroy the session", _SID.pack(sid))


def unbind_session(sid: int) -> Request:
    """Remove the session's SCSI devices for good; the UNBIND_SESSION event is the end."""
    return Request(Command.UNBIND_SESSION, "unbind the session", _SID.pack(sid))


def create_connection(sid: int) -> Request:
    return Request(Command.CREATE_CONN, "create a connection", _SID_CID.pack(sid, _CID))


def destroy_connection(sid: int) -> Request:
    return Request(Command.DESTROY_CONN, "destroy the connection", _SID_CID.pack(sid, _CID))


def bind_connection(sid: int, descriptor: int) -> Request:
    """Hand a connected TCP socket over. Only for a connection that is known to be stopped."""
    union = _BIND.pack(sid, _CID, descriptor, 1)
    return Request(Command.BIND_CONN, "take over the connected socket", union)


def set_parameter(sid: int, number: int, name: str, value: str) -> Request:
    """``name`` is for people; the kernel wants the value as text with a NUL."""
    text = value.encode() + b"\0"
    union = _SET_PARAM.pack(sid, _CID, number, len(text))
    return Request(Command.SET_PARAM, f"set {name} to {value!r}", union, text)


def start_connection(sid: int) -> Request:
    """Only for a connection whose bind the kernel has confirmed."""
    return Request(Command.START_CONN, "start the connection", _SID_CID.pack(sid, _CID))


def stop_connection(sid: int, flag: StopFlag) -> Request:
    union = _STOP.pack(sid, _CID, 0, flag)
    return Request(Command.STOP_CONN, "stop the connection", union)


def send_pdu(sid: int, header: bytes, data: bytes = b"") -> Request:
    """The kernel fills in CmdSN and task tag, and ExpStatSN except in login and text requests."""
    union = _SEND_PDU.pack(sid, _CID, len(header), len(data))
    return Request(Command.SEND_PDU, "send a PDU", union, header + data)


# --- replies and events -------------------------------------------------------------------------


def split(datagram: bytes) -> Iterator[bytes]:
    """Yield each netlink message of a datagram; one that is cut short ends it."""
    start = 0
    while start + _MESSAGE.size <= len(datagram):
        length: int = _MESSAGE.unpack_from(datagram, start)[0]
        if length < _MESSAGE.size or start + length > len(datagram):
            return
        yield datagram[start : start + length]
        start += length + -length % 4


def unpack_reply(message: bytes) -> Reply | None:
    """Return the reply in one message, ``None`` if it is no reply."""
    if len(message) < _UEVENT_LENGTH:
        return None
    kind, error, _handle, union, result = _UEVENT.unpack_from(message, _MESSAGE.size)
    tag = int.from_bytes(union[_TAG_OFFSET:], "little")
    sid, host_no = _TWO_NUMBERS.unpack(result)
    if kind == Notice.IF_ERROR:
        return Reply(tag, abs(error) or errno.EIO, sid, host_no)
    if kind not in _COMMANDS:
        return None
    if not error and kind in _ANSWERED_BY_RETCODE:
        error = _RETCODE.unpack(result)[0]
    return Reply(tag, abs(error), sid, host_no)


def unpack_event(message: bytes) -> Event | None:
    """Return the event in one message, ``None`` if it is of a kind that is not used."""
    if len(message) < _UEVENT_LENGTH:
        return None
    kind, _error, _handle, _union, result = _UEVENT.unpack_from(message, _MESSAGE.size)
    first, second, third = _THREE_NUMBERS.unpack(result)
    if kind == Notice.DESTROY_SESSION:
        return SessionDestroyed(second)  # here, and only here, the host number comes first
    if kind == Notice.UNBIND_SESSION:
        return SessionUnbound(first)
    if kind == Notice.CONN_ERROR and second == _CID:
        if third == _HOST_IS_GOING:  # INVALID_HOST: its remover waits for us to end the session
            return SessionUnrecoverable(first, "its SCSI host is being removed")
        return ConnectionLost(first, _CONNECTION_ERRORS.get(third, f"the kernel's error {third}"))
    if kind == Notice.RECV_PDU and second == _CID:
        return _received_pdu(first, message[_UEVENT_LENGTH:])
    return None


def _received_pdu(sid: int, payload: bytes) -> PduReceived | None:
    """Cut the padding off, by the length in the PDU's own header."""
    header, data = payload[:BASIC_HEADER_LENGTH], payload[BASIC_HEADER_LENGTH:]
    length = int.from_bytes(header[5:8], "big")
    if len(header) < BASIC_HEADER_LENGTH or len(data) < length:
        return None
    return PduReceived(sid, header, data[:length])
