"""The numbers in iSCSI PDUs, by name.

Every enumeration here is open: a number the standard does not list becomes a member with a
printable name of its own, because an unexpected number must not break the log line about it. Pure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

RESERVED_TAG = 0xFFFFFFFF
"""The Initiator Task Tag or Target Transfer Tag that stands for none."""


class OpenIntEnum(IntEnum):
    """An ``IntEnum`` that takes any number, and prints as words."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_0X{value:02X}"
        member._value_ = value
        return member

    def __reduce_ex__(self, _protocol: object) -> tuple[type[Self], tuple[int]]:
        # Python 3.11.2, Debian 12's, copies a member by its name, which an unknown one has not.
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        return self._name_ in type(self).__members__

    def __str__(self) -> str:
        if not self.is_known:
            return f"unknown 0x{self._value_:02x}"
        return self._name_.lower().replace("_", " ")

    def __format__(self, specification: str) -> str:
        return int.__format__(self, specification) if specification else str(self)


class Opcode(OpenIntEnum):
    """What a PDU is (RFC 7143, section 11.2.1.2)."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    SCSI_DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    SCSI_DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    READY_TO_TRANSFER = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class Stage(OpenIntEnum):
    """A stage of the login phase, a value of CSG and NSG (RFC 7143, section 11.12.3)."""

    SECURITY_NEGOTIATION = 0
    OPERATIONAL_NEGOTIATION = 1
    FULL_FEATURE_PHASE = 3


class LogoutReason(OpenIntEnum):
    """What a Logout Request asks for (RFC 7143, section 11.14.1)."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_CONNECTION_FOR_RECOVERY = 2


class LogoutOutcome(OpenIntEnum):
    """How a logout went: the Response field (RFC 7143, section 11.15.1)."""

    CLOSED = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2
    CLEANUP_FAILED = 3


class AsyncEvent(OpenIntEnum):
    """The event of an Asynchronous Message (RFC 7143, section 11.9.1)."""

    SCSI_EVENT = 0
    LOGOUT_REQUESTED = 1
    CONNECTION_DROPPED = 2
    SESSION_DROPPED = 3
    NEGOTIATION_REQUESTED = 4
    TASKS_ABORTED = 5
    VENDOR_SPECIFIC = 255


class RejectReason(OpenIntEnum):
    """Why a PDU was rejected (RFC 7143, section 11.17.1)."""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECTED = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    TOO_MANY_IMMEDIATE_COMMANDS = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    LONG_OPERATION_REJECTED = 0x0A
    NEGOTIATION_RESET = 0x0B
    WAITING_FOR_LOGOUT = 0x0C
