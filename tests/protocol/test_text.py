"""Key=value text: its grammar, its limits, its cutting and joining, and its three value types."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import ProtocolError
from iscsid.protocol.names import parse_target_address
from iscsid.protocol.text import (
    MAX_BINARY_LENGTH,
    MAX_TEXT_LENGTH,
    Pairs,
    TextAssembler,
    format_binary,
    format_pairs,
    parse_binary,
    parse_boolean,
    parse_number,
    parse_pair,
    parse_pairs,
    split_text,
)

KEYS = st.from_regex(r"(X#)?[A-Z][A-Za-z0-9.+@_-]{0,50}", fullmatch=True)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=60)
PAIRS = st.lists(st.tuples(KEYS, VALUES), max_size=10).map(tuple)

TEXTS: list[tuple[bytes, Pairs]] = [
    (b"", ()),
    (b"SendTargets=All\0", (("SendTargets", "All"),)),
    (b"A=1\0B=2\0A=3\0", (("A", "1"), ("B", "2"), ("A", "3"))),
    (b"TargetAlias=\0", (("TargetAlias", ""),)),
    (b"CHAP_C=0bAA==\0", (("CHAP_C", "0bAA=="),)),
    (b"X-com.example.a=b=c\0", (("X-com.example.a", "b=c"),)),
    (b"X#NodeArchitecture=x86\0", (("X#NodeArchitecture", "x86"),)),
    (b"iSCSIProtocolLevel=1\0", (("iSCSIProtocolLevel", "1"),)),
    ("TargetAlias=Größe\0".encode(), (("TargetAlias", "Größe"),)),
    (b"HeaderDigest=CRC32C,None\0", (("HeaderDigest", "CRC32C,None"),)),
    (b"K" * 63 + b"=1\0", (("K" * 63, "1"),)),
    (b"A=" + b"v" * 255 + b"\0", (("A", "v" * 255),)),
]


@pytest.mark.parametrize("text, pairs", TEXTS)
def test_text_becomes_pairs(text: bytes, pairs: Pairs) -> None:
    assert parse_pairs(text) == pairs


@pytest.mark.parametrize("text, pairs", TEXTS)
def test_pairs_become_text(text: bytes, pairs: Pairs) -> None:
    assert format_pairs(pairs) == text


@pytest.mark.parametrize("text", [b"\0", b"\0\0\0A=1\0", b"A=1\0\0\0", b"A=1\0\0B=2\0"])
def test_surplus_nuls_are_skipped(text: bytes) -> None:
    assert set(parse_pairs(text)) <= {("A", "1"), ("B", "2")}


def test_a_value_that_is_not_utf8_comes_out_escaped() -> None:
    assert parse_pairs(b"TargetAlias=Gr\xf6\xdfe\0") == (("TargetAlias", r"Gr\xf6\xdfe"),)


@pytest.mark.parametrize(
    "text, diagnostic",
    [
        (b"A=1", "does not end in NUL, after the key A"),
        (b"A=1\0B=", "does not end in NUL, after the key B"),
        (b"A\0", "no key=value pair: A"),
        (b"A:1\0", "no key=value pair"),
        (b"=1\0", "not the name of a key"),
        (b"a=1\0", "not the name of a key: a"),
        (b"1A=1\0", "not the name of a key"),
        (b" A=1\0", "not the name of a key"),
        (b"A =1\0", "not the name of a key"),
        (b"A,B=1\0", "not the name of a key"),
        (b"A#B=1\0", "not the name of a key"),
        (b"X#=1\0", "not the name of a key"),
        (b"A\n=1\0", "not the name of a key"),
        ("Ä=1\0".encode(), "not the name of a key"),
        (b"\xff=1\0", "not the name of a key"),
        (b"iscsi=1\0", "not the name of a key"),
        (b"K" * 64 + b"=1\0", "not the name of a key"),
        (b"A=" + b"v" * 256 + b"\0", "the value of A has 256 octets, more than 255"),
        (b"A=" + "ö".encode() * 128 + b"\0", "has 256 octets"),
    ],
)
def test_text_against_the_grammar_is_refused(text: bytes, diagnostic: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(diagnostic)) as error:
        parse_pairs(text)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


def test_a_chap_response_that_was_cut_is_not_shown() -> None:
    with pytest.raises(ProtocolError) as error:
        parse_pairs(b"CHAP_N=target\0CHAP_R=0x5f1e55")
    assert "CHAP_R" in str(error.value) and "5f1e55" not in str(error.value)


def test_a_chap_challenge_of_1024_octets_has_room_in_either_encoding() -> None:
    octets = bytes(range(256)) * 4
    for value in (format_binary(octets), "0b" + base64.b64encode(octets).decode()):
        assert parse_pairs(format_pairs([("CHAP_C", value)])) == (("CHAP_C", value),)
    with pytest.raises(ProtocolError):
        parse_pairs(format_pairs([("CHAP_C", format_binary(octets) + "0")]))
    with pytest.raises(ProtocolError):
        parse_pairs(format_pairs([("CHAP_N", format_binary(octets))]))


def test_a_target_address_has_room_for_the_longest_host_name_a_port_and_a_tag() -> None:
    address = ".".join(["h" * 63] * 3 + ["h" * 61]) + ":65535,65535"
    assert parse_pair(f"TargetAddress={address}".encode()) == ("TargetAddress", address)
    assert str(parse_target_address(address)) == address


def test_the_caller_may_set_other_limits() -> None:
    assert parse_pair(b"A=" + b"v" * 300, {"A": 300}) == ("A", "v" * 300)


@pytest.mark.parametrize("pair", [("a", "1"), ("", "1"), ("A" * 64, "1"), ("A=", "1"), ("A", "\0")])
def test_pairs_that_cannot_be_written_are_an_error_of_ours(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError):
        format_pairs([pair])


@given(PAIRS)
def test_parsing_undoes_formatting(pairs: Pairs) -> None:
    assert parse_pairs(format_pairs(pairs)) == pairs


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"A", b"=", b"\0", b"\xff"])).map(b"".join)
)
def test_any_octets_are_pairs_or_one_documented_error(text: bytes) -> None:
    try:
        pairs = parse_pairs(text)
    except ProtocolError as error:
        assert str(error).isprintable()
    else:
        assert all(key and value.encode() is not None for key, value in pairs)


@given(PAIRS, st.lists(st.integers(0, 400)))
def test_cutting_a_text_into_pieces_changes_nothing(pairs: Pairs, cuts: list[int]) -> None:
    text = format_pairs(pairs)
    assembler = TextAssembler()
    start = 0
    for cut in sorted({min(cut, len(text)) for cut in cuts}):
        assert assembler.add(text[start:cut], continues=True) is None
        start = cut
    assert assembler.add(text[start:], continues=False) == text


@given(st.binary(max_size=100), st.integers(1, 40))
def test_split_text_joins_again_and_no_piece_is_too_long(text: bytes, limit: int) -> None:
    pieces = split_text(text, limit)
    assert b"".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)
    assert len(pieces) == max(1, -(-len(text) // limit))


def test_pieces_of_nothing_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError):
        split_text(b"A=1\0", 0)


def test_the_assembler_begins_afresh_after_each_text() -> None:
    assembler = TextAssembler()
    assert assembler.add(b"A=", continues=True) is None
    assert assembler.add(b"1\0", continues=False) == b"A=1\0"
    assert assembler.add(b"B=2\0", continues=False) == b"B=2\0"


def test_more_text_than_the_cap_is_refused() -> None:
    assembler = TextAssembler(10)
    assert assembler.add(b"12345", continues=True) is None
    assert assembler.add(b"12345", continues=True) is None
    with pytest.raises(ProtocolError, match="more than 10 octets"):
        assembler.add(b"1", continues=False)


def test_a_text_as_long_as_the_cap_is_taken() -> None:
    assert TextAssembler().add(bytes(MAX_TEXT_LENGTH), continues=False) == bytes(MAX_TEXT_LENGTH)


def test_pieces_of_nothing_do_not_go_on_for_ever() -> None:
    assembler = TextAssembler()
    with pytest.raises(ProtocolError, match="hold nothing"):
        for _ in range(1000):
            assembler.add(b"", continues=True)


NUMBERS = {
    "0": 0,
    "1": 1,
    "512": 512,
    "16777215": 16777215,
    "0x0": 0,
    "0x10": 16,
    "0X10": 16,
    "0xFf": 255,
    "0x007": 7,
    str(2**31): 2**31,
    str(2**32): 2**32,
    str(2**64 - 1): 2**64 - 1,
    "0xffffffffffffffff": 2**64 - 1,
}


@pytest.mark.parametrize("text, number", NUMBERS.items())
def test_numbers_are_decimal_or_hexadecimal(text: str, number: int) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+5", "007", "00", "0x", "0xg", "1.5", "1e3", "1_000", " 1", "1 ", "1\n", "0b1"]
    + [
        "0o7",
        "1~5",
        "1,2",
        "x10",
        "１２",
        "٣",
        "²",
        "0x１",
        "Yes",
        str(2**64),
        "9" * 400,
        "0x1" + "0" * 16,
    ],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a number"):
        parse_number(text)


@given(st.integers(0, 2**64 - 1))
def test_every_number_is_read_in_both_forms(number: int) -> None:
    assert parse_number(str(number)) == parse_number(hex(number)) == number


@given(st.text(max_size=30))
def test_any_text_is_a_number_by_the_grammar_or_refused(text: str) -> None:
    try:
        number = parse_number(text)
    except ProtocolError:
        return
    assert text.isascii() and number == int(text, 0)


def test_booleans_are_yes_and_no_and_nothing_else() -> None:
    assert parse_boolean("Yes") is True
    assert parse_boolean("No") is False
    for text in ("yes", "YES", "True", "1", "", "No ", "Yes,No"):
        with pytest.raises(ProtocolError, match="neither Yes nor No"):
            parse_boolean(text)


BINARIES = {
    "0x00": b"\0",
    "0xABcd": b"\xab\xcd",
    "0Xab": b"\xab",
    "0x1": b"\x01",
    "0xabc": b"\x0a\xbc",
    "0bAA": b"\0",
    "0bAAA": b"\0\0",
    "0bYWJjZA": b"abcd",
    "0bAA==": b"\0",
    "0Bq80=": b"\xab\xcd",
    "0b+/+/": b"\xfb\xff\xbf",
    "0bYWJj": b"abc",
}


@pytest.mark.parametrize("text, octets", BINARIES.items())
def test_binary_values_are_hexadecimal_or_base64(text: str, octets: bytes) -> None:
    assert parse_binary(text) == octets


@pytest.mark.parametrize(
    "text",
    ["", "0", "0x", "0b", "ab", "0xabg", "0xag", "0x ab", "0xab ", "x00", "0bA", "0bAAAAA"]
    + [
        "0bA===",
        "0bAA=",
        "0bAAAA=",
        "0b====",
        "0bAA=A",
        "0bAA==AAAA",
        "0b-_-_",
        "0bAA==\n",
        "0b AA=",
        "0xａｂ",
        "12",
    ],
)
def test_what_is_no_binary_value_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="neither hexadecimal nor Base64") as error:
        parse_binary(text)
    assert len(text) < 3 or text not in str(error.value)


@pytest.mark.parametrize("limit", [1, 16, MAX_BINARY_LENGTH])
def test_binary_values_are_bounded_in_octets(limit: int) -> None:
    for encode in (format_binary, lambda octets: "0b" + base64.b64encode(octets).decode()):
        assert parse_binary(encode(bytes(limit)), limit) == bytes(limit)
        with pytest.raises(ProtocolError, match=f"more than {limit} octets"):
            parse_binary(encode(bytes(limit + 1)), limit)


@given(st.binary(min_size=1, max_size=MAX_BINARY_LENGTH))
def test_binary_values_survive_either_encoding(octets: bytes) -> None:
    assert parse_binary(format_binary(octets)) == octets
    assert parse_binary(format_binary(octets).upper()) == octets
    assert parse_binary("0b" + base64.b64encode(octets).decode()) == octets
