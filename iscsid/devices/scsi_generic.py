"""The kernel's SCSI generic driver: ask one logical unit whether it is there.

For workers only: a command waits for as long as the session has no connection. Touches one device
node, and sends nothing but INQUIRY, which is never refused and changes nothing (SCSI Primary
Commands). The structure is that of the kernel's ``include/scsi/sg.h`` on 64-bit machines.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from struct import Struct

from iscsid.protocol.scsi import is_unit_there, standard_inquiry

_SG_IO = 0x2285
_HEADER = Struct("=iiBBHIQQQIIi4xQBBBBHHiII4x")
_FROM_DEVICE = -3
_LENGTH = 36
"""Octets of the answer that every logical unit has."""
_SENSE_LENGTH = 64
_PATIENCE = 10_000
"""Milliseconds for the command."""


def is_there(node: str) -> bool | None:
    """Ask the target whether it has the logical unit of ``node``; ``None``: no answer."""
    answer = ctypes.create_string_buffer(_LENGTH)
    sense = ctypes.create_string_buffer(_SENSE_LENGTH)
    command = ctypes.create_string_buffer(standard_inquiry(_LENGTH))
    header = bytearray(
        _HEADER.pack(
            *(ord("S"), _FROM_DEVICE, len(command.raw) - 1, _SENSE_LENGTH, 0, _LENGTH),
            *map(ctypes.addressof, (answer, command, sense)),
            *(_PATIENCE, 0, 0, 0),
            *(0, 0, 0, 0, 0, 0, 0, 0, 0),
        )
    )
    try:
        descriptor = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.ioctl(descriptor, _SG_IO, header)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    *_, status, _masked, _message, sense_length, host, _driver, rest, _time, _info = _HEADER.unpack(
        header
    )
    if host:
        return None
    return is_unit_there(status, answer.raw[: _LENGTH - rest], sense.raw[:sense_length])
