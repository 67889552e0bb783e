"""The table by which a firmware tells which target it has booted from (iBFT), as an ACPI table.

Pure: values in, octets out. The offsets are those that Linux's iscsi_ibft.c expects.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

HEADER = 48
CONTROL, INITIATOR, NIC, TARGET = 1, 2, 3, 4
BY_HAND = 1
"""The origin of an address that is not from DHCP."""
VALID_AND_BOOTED = 3
MAC = bytes.fromhex("525400123456")
"""What QEMU gives a machine's first interface."""
NO_ADDRESS = bytes(16)


def firmware_table(
    *,
    initiator: str,
    address: str,
    prefix: int,
    target: str,
    target_address: str,
    port: int,
) -> bytes:
    """Return a table with one initiator, one interface and one target."""
    # Fixed parts first; names at the end, since the kernel believes no offset near the end.
    control_at = HEADER
    initiator_at = control_at + 18
    nic_at = initiator_at + 74
    target_at = nic_at + 102
    names_at = target_at + 54
    initiator_name, target_name = initiator.encode(), target.encode()
    target_name_at = names_at + len(initiator_name) + 1
    control = _part(CONTROL, struct.pack("<6H", 0, initiator_at, nic_at, target_at, 0, 0), flags=0)
    whole = control + _part(
        INITIATOR, NO_ADDRESS * 4 + struct.pack("<2H", len(initiator_name), names_at)
    )
    whole += _part(
        NIC,
        _mapped(address)
        + bytes([prefix, BY_HAND])
        + NO_ADDRESS * 4
        + struct.pack("<H6s3H", 0, MAC, 0, 0, 0),
    )
    whole += _part(
        TARGET,
        _mapped(target_address)
        + struct.pack("<H8sBB", port, b"\0\1", 0, 0)
        + struct.pack("<10H", len(target_name), target_name_at, *([0] * 8)),
    )
    whole += initiator_name + b"\0" + target_name + b"\0"
    # A margin that ends behind every offset as the kernel compares them.
    return _table(whole + bytes(HEADER + len(target_name)))


def _part(kind: int, content: bytes, flags: int = VALID_AND_BOOTED) -> bytes:
    return struct.pack("<BBHBB", kind, 1, 6 + len(content), 0, flags) + content


def _mapped(address: str) -> bytes:
    """Return an IPv4 address as one of IPv6."""
    return bytes(10) + b"\xff\xff" + IPv4Address(address).packed


def _table(content: bytes) -> bytes:
    length = HEADER + len(content)
    head = struct.pack("<4sIBB6s8s24x", b"iBFT", length, 1, 0, b"ISCSID", b"FIRMWARE")
    checksum = -sum(head + content) & 0xFF
    return head[:9] + bytes([checksum]) + head[10:] + content
