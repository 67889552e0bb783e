"""Where a value sits in the 48 octets of a Basic Header Segment (RFC 7143, section 11.2.1).

A *place* reads one value out of a header and writes it back, so that the layout of a PDU is said
once and serves both ways. All numbers are big-endian and unsigned. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
