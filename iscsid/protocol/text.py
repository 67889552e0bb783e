"""Key=value text: parsing, formatting, and joining of split text (RFC 7143, section 6.1).

Which values a key takes is in ``keys``; this module knows only the syntax.
Three kinds of value have a grammar of their own, and each has one strict parser: numbers, Booleans
and binary values. Python's ``int()`` takes blanks, signs, underscores and foreign digits, so it
never sees text that has not been matched before. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from iscsid.errors import ProtocolError
from iscsid.protocol.printable import printable

MAX_KEY_LENGTH = 63
MAX_VALUE_LENGTH = 255
MAX_BINARY_LENGTH = 1024
"""Octets of a CHAP_C or CHAP_R, decoded (RFC 7143, section 12.1.3)."""

_MAX_BINARY_TEXT = len("0x") + 2 * MAX_BINARY_LENGTH

_MAX_ADDRESS = len("[]:65535,65535") + MAX_VALUE_LENGTH

VALUE_LIMITS: Mapping[str, int] = MappingProxyType(
    {"CHAP_C": _MAX_BINARY_TEXT, "CHAP_R": _MAX_BINARY_TEXT, "TargetAddress": _MAX_ADDRESS}
)
"""Keys whose values may be longer than ``MAX_VALUE_LENGTH`` octets."""

MAX_TEXT_LENGTH = 65536
"""Octets of joined text that are taken; the standard demands 8192 of a receiver."""

_MAX_EMPTY_PIECES = 16

_KEY = re.compile(r"(?:X#|i(?=SCSI))?[A-Z][A-Za-z0-9.+@_-]*")
"""A name begins with a capital letter, but for iSCSIProtocolLevel (RFC 7143, section 13.24)."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}|0[xX][0-9A-Fa-f]{1,16}")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]+")
_BASE64 = re.compile(
    r"0[bB](?=.)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=?|[A-Za-z0-9+/]{2}(?:==)?)?"
)
_BOOLEANS = {"Yes": True, "No": False}

Pairs = tuple[tuple[str, str], ...]


def parse_pairs(data: bytes, limits: Mapping[str, int] = VALUE_LIMITS) -> Pairs:
    """Return the pairs of a complete text, in order and with repetitions.

    Every pair must end in NUL, the last one too: text without it cannot be distinguished from text
    that was cut. Surplus NULs between pairs are skipped, because some targets pad with them. Raises
    ``ProtocolError`` on anything else that is not key=value text.
    """
    if not data:
        return ()
    *pairs, rest = data.split(b"\0")
    if rest:
        # The key alone: the value may be a CHAP response, and errors go to the log.
        key = printable(rest.partition(b"=")[0])
        raise ProtocolError(f"text does not end in NUL, after the key {key}", section="6.1")
    return tuple(parse_pair(pair, limits) for pair in pairs if pair)


def parse_pair(pair: bytes, limits: Mapping[str, int] = VALUE_LIMITS) -> tuple[str, str]:
    """Return key and value of one pair without its NUL; the first ``=`` divides them.

    Octets of the value that are not UTF-8 become backslash escapes: a broken
    TargetAlias must not fail the login.
    """
    key_octets, equals, value = pair.partition(b"=")
    key = key_octets.decode("ascii", "replace")
    if not equals:
        raise ProtocolError(f"text is no key=value pair: {printable(pair)}", section="6.1")
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ProtocolError(f"not the name of a key: {printable(key_octets)}", section="6.1")
    limit = limits.get(key, MAX_VALUE_LENGTH)
    if len(value) > limit:
        raise ProtocolError(
            f"the value of {key} has {len(value)} octets, more than {limit}", section="6.1"
        )
    return key, value.decode("utf-8", "backslashreplace")


def format_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return the text of ``pairs``; a pair that cannot be written is an error of the caller's."""
    return b"".join(_format_pair(key, value) for key, value in pairs)


def _format_pair(key: str, value: str) -> bytes:
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ValueError(f"not the name of a key: {key!r}")
    if "\0" in value:
        raise ValueError(f"the value of {key} holds a NUL")
    return f"{key}={value}\0".encode()


class TextAssembler:
    """Joins the pieces of a text that was cut with the C bit, up to ``limit`` octets in all."""

    def __init__(self, limit: int = MAX_TEXT_LENGTH) -> None:
        self._limit = limit
        self._start()

    def _start(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0
        self._empty = 0

    def add(self, piece: bytes, *, continues: bool) -> bytes | None:
        """Take the next piece; return the whole text with the last one, ``None`` before."""
        self._length += len(piece)
        self._empty += not piece
        if self._length > self._limit:
            raise ProtocolError(
                f"text in pieces has more than {self._limit} octets in all", section="6.1"
            )
        if self._empty > _MAX_EMPTY_PIECES:
            raise ProtocolError(f"more than {_MAX_EMPTY_PIECES} pieces of text hold nothing")
        self._pieces.append(piece)
        if continues:
            return None
        text = b"".join(self._pieces)
        self._start()
        return text


def split_text(text: bytes, limit: int) -> tuple[bytes, ...]:
    """Cut a text into pieces of at most ``limit`` octets, for sending all but the last with C=1.

    There is always one piece at least, an empty one for an empty text.
    """
    if limit < 1:
        raise ValueError(f"pieces of {limit} octets")
    return tuple(text[at : at + limit] for at in range(0, max(len(text), 1), limit))


def parse_number(text: str) -> int:
    """Return a numerical value: decimal without leading zeros, or 0x and hexadecimal digits.

    Always less than 2**64. Raises ``ProtocolError``.
    """
    if _NUMBER.fullmatch(text):
        number = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
        if number < 1 << 64:
            return number
    raise ProtocolError(f"not a number: '{printable(text)}'", section="6.1")


def parse_boolean(text: str) -> bool:
    """Return what Yes or No means; raises ``ProtocolError`` on any other spelling."""
    if text not in _BOOLEANS:
        raise ProtocolError(f"neither Yes nor No: '{printable(text)}'", section="6.1")
    return _BOOLEANS[text]


def parse_binary(text: str, limit: int = MAX_BINARY_LENGTH) -> bytes:
    """Return the octets of a binary value, one to ``limit`` of them.

    Written as 0x and hexadecimal digits, or as 0b and Base64. Of an odd number of digits the first
    is half an octet, because such values come from targets that print a number without its leading
    zero; RFC 7143, section 6.1 gives them that length. Some targets leave the padding of Base64
    out. Raises ``ProtocolError``, whose message does not repeat the value.
    """
    if _HEXADECIMAL.fullmatch(text):
        digits = text[2:]
        octets = bytes.fromhex("0" * (len(digits) % 2) + digits)
    elif _BASE64.fullmatch(text):
        encoded = text[2:].rstrip("=")
        octets = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    else:
        raise ProtocolError("a binary value is neither hexadecimal nor Base64", section="6.1")
    if len(octets) > limit:
        raise ProtocolError(f"a binary value has more than {limit} octets", section="6.1")
    return octets


def format_binary(octets: bytes) -> str:
    """Return a binary value as 0x and hexadecimal digits, the form every target reads."""
    return "0x" + octets.hex()


class PairSplitter:
    """Cuts pieces of text at their NULs, wherever the pieces themselves were cut.

    Of a pair longer than ``limit`` octets the first ``limit + 1`` are kept, which shows that it
    was too long; memory is bounded whatever comes in.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unfinished = b""

    def split(self, piece: bytes) -> Iterator[bytes]:
        """Yield every pair that ends in this piece, without its NUL; empty ones are left out."""
        start = 0
        while (end := piece.find(b"\0", start)) >= 0:
            pair = self._extend(piece, start, end)
            self._unfinished = b""
            start = end + 1
            if pair:
                yield pair
        self._unfinished = self._extend(piece, start, len(piece))

    def take_rest(self) -> bytes:
        """Return what came after the last NUL, and forget it."""
        rest, self._unfinished = self._unfinished, b""
        return rest

    def _extend(self, piece: bytes, start: int, end: int) -> bytes:
        space = self._limit + 1 - len(self._unfinished)
        return self._unfinished + piece[start : min(end, start + space)]
