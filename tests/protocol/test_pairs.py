"""Cutting text into pairs while it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.text import PairSplitter

LIMIT = 8


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = PairSplitter(LIMIT)
    pairs = [pair for piece in pieces for pair in splitter.split(piece)]
    return pairs, splitter.take_rest()


@pytest.mark.parametrize(
    "pieces, pairs, rest",
    [
        ([], [], b""),
        ([b"A=1\0B=2\0"], [b"A=1", b"B=2"], b""),
        ([b"A=1", b"\0B=", b"2", b"\0"], [b"A=1", b"B=2"], b""),
        ([b"A=1\0B"], [b"A=1"], b"B"),
        ([b"\0\0A=1\0\0"], [b"A=1"], b""),
        ([b"12345678\0"], [b"12345678"], b""),
        ([b"123456789abc\0A=1\0"], [b"123456789", b"A=1"], b""),
        ([b"1234567", b"89ab", b"cdef\0A=1"], [b"123456789"], b"A=1"),
    ],
)
def test_pairs_end_in_nul(pieces: list[bytes], pairs: list[bytes], rest: bytes) -> None:
    assert split(pieces) == (pairs, rest)


@given(st.lists(st.binary(max_size=20)))
def test_where_the_pieces_were_cut_does_not_matter(pieces: list[bytes]) -> None:
    assert split(pieces) == split([b"".join(pieces)])


@given(st.binary(max_size=200))
def test_no_more_than_one_octet_beyond_the_limit_is_kept(text: bytes) -> None:
    pairs, rest = split([text[start : start + 3] for start in range(0, len(text), 3)])
    assert all(len(pair) <= LIMIT + 1 for pair in [*pairs, rest])


def test_the_rest_is_forgotten_once_taken() -> None:
    splitter = PairSplitter(LIMIT)
    assert list(splitter.split(b"A=1")) == []
    assert splitter.take_rest() == b"A=1"
    assert splitter.take_rest() == b""
