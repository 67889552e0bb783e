"""Arithmetic of 32-bit serial numbers: CmdSN, StatSN and the like (RFC 1982).

They wrap, so "later" is defined within half of the range only. Pure functions on plain integers.
"""

from __future__ import annotations

MODULUS = 1 << 32
_HALF = 1 << 31


def add(serial: int, increment: int = 1) -> int:
    """Return the serial number ``increment`` later; at most 2**31 - 1 later has a meaning."""
    if not 0 <= increment < _HALF:
        raise ValueError(f"a serial number cannot advance by {increment}")
    return (serial + increment) % MODULUS


def subtract(serial: int, decrement: int) -> int:
    """Return the serial number ``decrement`` earlier; at most 2**31 - 1 earlier has a meaning."""
    if not 0 <= decrement < _HALF:
        raise ValueError(f"a serial number cannot go back by {decrement}")
    return (serial - decrement) % MODULUS


def distance(earlier: int, later: int) -> int:
    """Return how far ``later`` lies ahead: negative if it lies behind, -2**31 if opposite."""
    return (later - earlier + _HALF) % MODULUS - _HALF


def is_later(serial: int, other: int) -> bool:
    """Whether ``serial`` comes after ``other``; false for equal and for opposite numbers."""
    return distance(other, serial) > 0
