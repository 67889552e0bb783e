"""Identification pages, as real targets have sent them, and pages made for one fault each."""

from __future__ import annotations

TGTD_ANSWER = bytes.fromhex(
    "258300000000004c000000000000000000000100ffffffff00000002000003e8"
    "000004680000000000000000000003b4"
    "00830048020100244945542020202020303030313030303100000000000000000000000000000000"
    "00000000010300083000000100000001010300106000000000000000"
    "0e00000000010001"
)
"""Data-In of tgtd 1.0.85: a T10 designator and two of type NAA."""

ISTGT_ANSWER = bytes.fromhex(
    "25830000000000af000000000000000000000100ffffffff00000002000003e8"
    "000004070000000000000000"
    "00000351"
    "008300ab0103000830000000d5c3880c030100384672656542534420695343534920444953"
    "4b202020202020313030303030303120202020202020202020202020202020202020202020"
    "2020"
    "53a8001d69716e2e323032342d30312e6f72672e6578616d706c653a706c61696e"
    "5398002669716e2e323032342d30312e6f72672e6578616d706c653a706c61696e2c742c30783030"
    "3031519400040000000151950004000000015196000400000001"
    "00"
)
"""Data-In of istgt 20111008: its NAA and T10 designators, and five of the target and its port."""

TGTD_PAGE = TGTD_ANSWER[48 : 48 + 0x4C]
ISTGT_PAGE = ISTGT_ANSWER[48 : 48 + 0xAF]

TGTD_NO_SUCH_LUN = bytes.fromhex("7f83") + TGTD_PAGE[2:]
"""tgtd's answer for a LUN it does not have: only the first octet differs."""
ISTGT_NO_SUCH_LUN = bytes.fromhex("7f0000 5b") + bytes(92)
"""istgt's: it is not even the page that was asked for."""

NAA, T10, EUI, NAME = 3, 1, 2, 8


def designator(kind: int, octets: bytes, *, association: int = 0) -> bytes:
    return bytes([1, association << 4 | kind, 0, len(octets)]) + octets


def page(*descriptors: bytes, device: int = 0) -> bytes:
    body = b"".join(descriptors)
    return bytes([device, 0x83]) + len(body).to_bytes(2, "big") + body


def naa(number: int) -> bytes:
    """A page with one NAA designator of sixteen octets."""
    return page(designator(NAA, (0x6 << 124 | number).to_bytes(16, "big")))
