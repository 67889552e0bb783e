"""Fuzz target: key=value text.

``python -m tests.fuzz.login_text -max_total_time=60``. The oracle: pairs or ``ProtocolError``;
pairs written again are the same text; text in pieces is the text in one; the three kinds of value
are parsed as an independent reading of the grammar does.
"""

from __future__ import annotations

import binascii
import re

from iscsid.errors import ProtocolError
from iscsid.protocol.text import (
    PairSplitter,
    TextAssembler,
    format_pairs,
    parse_binary,
    parse_boolean,
    parse_number,
    parse_pairs,
    split_text,
)
from tests.fuzz import engine


def test_one_input(data: bytes) -> None:
    """Parse the text, and each value as each kind; the first octet determines how it is cut."""
    step, text = data[:1].ljust(1, b"\0")[0] + 1, data[1:]
    pieces = split_text(text, step)
    assert b"".join(pieces) == text
    splitter = PairSplitter(512)
    split = [pair for piece in pieces for pair in splitter.split(piece)] + [splitter.take_rest()]
    assert [pair for pair in split if pair] == [pair[:513] for pair in text.split(b"\0") if pair]
    assembler = TextAssembler()
    try:
        joined = None
        for number, piece in enumerate(pieces, start=1):
            joined = assembler.add(piece, continues=number < len(pieces))
        assert joined == text
        pairs = parse_pairs(text)
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    if is_utf_8(text):  # else values have escapes, which may make them too long
        assert parse_pairs(format_pairs(pairs)) == pairs
    for _, value in pairs:
        check_number(value)
        check_binary(value)
        if value not in ("Yes", "No"):
            refuses(parse_boolean, value)


def is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_number(text: str) -> None:
    if re.fullmatch("0|[1-9][0-9]*|0[xX][0-9a-fA-F]{1,16}", text, re.ASCII):
        number = int(text, 0)
        if number < 2**64:
            assert parse_number(text) == number
            return
    refuses(parse_number, text)


def check_binary(text: str) -> None:
    octets: bytes | None = None
    if re.fullmatch("0[xX][0-9a-fA-F]+", text, re.ASCII):
        octets = int(text, 16).to_bytes((len(text) - 1) // 2, "big")
    elif re.fullmatch("0[bB][A-Za-z0-9+/]+={0,2}", text, re.ASCII):
        digits = text[2:].rstrip("=")
        padding = -len(digits) % 4
        if len(text) - 2 - len(digits) in (0, padding) and padding < 3:
            octets = binascii.a2b_base64(digits + "=" * padding)
    if octets is None or len(octets) > 1024:
        refuses(parse_binary, text)
    else:
        assert parse_binary(text) == octets


def refuses(parse: object, text: str) -> None:
    try:
        parse(text)  # type: ignore[operator]
    except ProtocolError as error:
        assert str(error).isprintable()
    else:
        raise AssertionError(f"{parse} takes {text!r}")


if __name__ == "__main__":
    engine.run(__file__)
