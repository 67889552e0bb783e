"""The checksums that digests put into a PDU: CRC32C (RFC 7143, section 13.1). Pure.

The kernel computes them for its sessions; iscsid itself uses digests only between a login and the
hand-over to the kernel, and for a logout. So this is short rather than fast.
"""

from __future__ import annotations

from iscsid.errors import MalformedPdu
from iscsid.protocol.parameters import Digest

DIGEST_LENGTH = 4

_POLYNOMIAL = 0x82F63B78
"""CRC32C's, its bits in the order in which they are sent."""


def digest_length(digest: Digest) -> int:
    """Return how many octets a digest adds to what it covers."""
    return DIGEST_LENGTH if digest is Digest.CRC32C else 0


def append_digest(octets: bytes, digest: Digest) -> bytes:
    """Return ``octets`` and behind them their digest, if there is to be one."""
    return octets + crc32c(octets) if digest is Digest.CRC32C else octets


def check(octets: bytes, found: bytes, what: str) -> None:
    """Raise ``MalformedPdu`` if ``found`` is not the digest of ``octets``."""
    if found and found != crc32c(octets):
        raise MalformedPdu(f"the {what} digest of a PDU is wrong", section="13.1")


def crc32c(octets: bytes) -> bytes:
    """Return the checksum in the order in which it stands in a PDU."""
    register = 0xFFFFFFFF
    for octet in octets:
        register = register >> 8 ^ _TABLE[(register ^ octet) & 0xFF]
    return (register ^ 0xFFFFFFFF).to_bytes(DIGEST_LENGTH, "little")


def _row(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
    return number


_TABLE = tuple(map(_row, range(256)))
