"""What may stand behind ``=``: one ``Syntax`` per kind of value, text to value and back.

Numbers are strict: nothing is clamped, rounded, or zeroed for not being understood. Names,
portals and networks are in ``addresses``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from iscsid.config.diagnostics import nearest, quoted
from iscsid.config.settings import DigestPolicy, MultipathPolicy
from iscsid.protocol.parameters import ChapAlgorithm
from iscsid.secret import Secret

T = TypeVar("T")

SHORTEST_SECRET = 12
"""Octets: 96 bits, which CHAP needs where no IPsec protects it (RFC 7143, section 9.2.1)."""
LONGEST_TEXT = 255
"""Octets of a text value (RFC 7143, section 6.1)."""
LARGEST_LUN = 65535
MASK = "********"

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,11}|0[xX][0-9a-fA-F]{1,9})")
_AMOUNT = re.compile(r"([1-9][0-9]{0,8}) ?([A-Za-z]{1,8})")
# What people write, with the unit here and how many of it are meant; 0: there is none.
_OTHER_TIMES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), (1, "s")),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), (1, "m")),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), (1, "h")),
    **dict.fromkeys(("d", "day", "days"), (24, "h")),
    **dict.fromkeys(("ms", "msec", "msecs", "us"), (0, "")),
}
_OTHER_SIZES = {
    **dict.fromkeys(("k", "kb", "kib"), (1, "K")),
    **dict.fromkeys(("m", "mb", "mib"), (1, "M")),
    **dict.fromkeys(("g", "gb", "gib"), (1024, "M")),
    **dict.fromkeys(("b", "byte", "bytes"), (1, "")),
}
_UNITS_OF_TIME = {"s": 1, "m": 60, "h": 3600}
_UNITS_OF_SIZE = {"K": 1024, "M": 1024 * 1024}


class InvalidValue(ValueError):
    """A value that is not what the keyword wants. ``why`` never holds a secret."""

    def __init__(self, why: str, *, suggestion: str = "") -> None:
        super().__init__(why)
        self.why, self.suggestion = why, suggestion


@dataclass(frozen=True, slots=True)
class Syntax(Generic[T]):
    """One kind of value."""

    expected: str
    """What to write, as the end of a sentence that begins with "expected"."""
    parse: Callable[[str], T]
    """Raises ``InvalidValue``."""
    format: Callable[[T], str]
    """The canonical text, which ``parse`` reads back as the same value."""
    takes_blanks: bool = False
    """Blanks may stand in the value without quotes."""
    is_secret: bool = False


def choice(words: Mapping[str, T], *, canonical: Iterable[str] | None = None) -> Syntax[T]:
    """Return a syntax of fixed words, in any case. ``canonical`` ones are named to people."""
    by_lower_case = {word.lower(): value for word, value in words.items()}
    shown = tuple(canonical or words)
    names: dict[T, str] = {}
    for word in (*shown, *words):
        names.setdefault(words[word], word)

    def parse(text: str) -> T:
        try:
            return by_lower_case[text.lower()]
        except KeyError:
            suggestion = nearest(text, words)
            raise InvalidValue(
                f"{quoted(text)} is none of its words", suggestion=suggestion
            ) from None

    return Syntax(_one_of(shown), parse, lambda value: names[value])


def _one_of(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"


_BOOLEAN = choice({"yes": True, "no": False, "1": True, "0": False}, canonical=("yes", "no"))
_OTHER_BOOLEANS = {
    **dict.fromkeys(("true", "on", "y", "enable", "enabled"), "yes"),
    **dict.fromkeys(("false", "off", "n", "disable", "disabled"), "no"),
}


def _parse_boolean(text: str) -> bool:
    if meant := _OTHER_BOOLEANS.get(text.lower()):
        raise InvalidValue(f"{quoted(text)} is none of its words", suggestion=meant)
    return _BOOLEAN.parse(text)


BOOLEAN = Syntax(_BOOLEAN.expected, _parse_boolean, _BOOLEAN.format)


_DIGEST = choice(
    {
        "always": DigestPolicy.ALWAYS,
        "yes": DigestPolicy.ALWAYS,
        "crc32c": DigestPolicy.ALWAYS,
        "never": DigestPolicy.NEVER,
        "no": DigestPolicy.NEVER,
        "none": DigestPolicy.NEVER,
        "prefer-on": DigestPolicy.PREFER_ON,
        "prefer-off": DigestPolicy.PREFER_OFF,
    },
    canonical=("always", "never", "prefer-on", "prefer-off"),
)


def _parse_digest(text: str) -> DigestPolicy:
    # open-iscsi and FreeBSD list what they offer, the preferred one first.
    words = [word.strip(" \t").lower() for word in text.split(",")]
    if sorted(words) == ["crc32c", "none"]:
        policy = DigestPolicy.PREFER_ON if words[0] == "crc32c" else DigestPolicy.PREFER_OFF
        raise InvalidValue(f"{quoted(text)} is a list", suggestion=policy.value)
    return _DIGEST.parse(text)


DIGEST = Syntax(_DIGEST.expected, _parse_digest, _DIGEST.format)
MULTIPATH = choice(
    {
        "no": MultipathPolicy.NO,
        "portal": MultipathPolicy.PORTAL,
        "yes": MultipathPolicy.PORTAL,
        "portalgroup": MultipathPolicy.PORTAL_GROUP,
    },
    canonical=("no", "portal", "portalgroup"),
)


def parse_number(text: str, least: int, most: int, *, whole: str = "") -> int:
    """Return a decimal or 0x-hexadecimal number from ``least`` to ``most``.

    ``whole`` is the value that an error shows, if ``text`` is only a part of it.
    """
    shown = quoted(whole or text)
    if re.fullmatch("0[0-9]+", text):
        raise InvalidValue(f"{shown} begins with 0, which some programs read as octal")
    if not _NUMBER.fullmatch(text):
        if re.fullmatch("[0-9]{12,}", text):
            raise InvalidValue(f"{shown} is too large")
        raise InvalidValue(f"{shown} is no number")
    number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    _check_range(whole or text, number, least, most)
    return number


def _check_range(text: str, number: int, least: int, most: int) -> None:
    if number < least:
        raise InvalidValue(f"{quoted(text)} is too small")
    if number > most:
        raise InvalidValue(f"{quoted(text)} is too large")


def number(least: int, most: int, unit: str) -> Syntax[int]:
    """Return a syntax for a count of ``unit``."""
    expected = f"{unit} from {least} to {most}"
    return Syntax(expected, lambda text: parse_number(text, least, most), str)


def _with_unit(
    text: str,
    units: Mapping[str, int],
    others: Mapping[str, tuple[int, str]],
    least: int,
    most: int,
) -> int:
    """``others``: units that people write, and so many of which unit here each is."""
    parts = _AMOUNT.fullmatch(text)
    if parts and parts[2] in units and " " in text:
        raise InvalidValue(f"{quoted(text)} has a blank", suggestion=text.replace(" ", ""))
    if parts and parts[2] not in units and parts[2].lower() in others:
        many, unit = others[parts[2].lower()]
        count = int(parts[1]) * many
        is_right = many and least <= count * units.get(unit, 1) <= most
        suggestion = f"{count}{unit}" if is_right else ""
        raise InvalidValue(f"{quoted(text)} has an unknown unit", suggestion=suggestion)
    factor = units.get(text[-1:], 0)
    if not factor:
        return parse_number(text, least, most)
    count = parse_number(text[:-1], 0, most, whole=text) * factor
    _check_range(text, count, least, most)
    return count


def time(least: int, most: int) -> Syntax[int]:
    """Return a syntax for seconds, with s, m or h behind the number if need be."""
    expected = f"seconds from {least} to {most}, or a number with s, m or h"
    return Syntax(
        expected,
        lambda text: _with_unit(text, _UNITS_OF_TIME, _OTHER_TIMES, least, most),
        lambda seconds: f"{seconds}s" if seconds else "0",
    )


def size(least: int, most: int) -> Syntax[int]:
    """Return a syntax for bytes, with K or M (1024 and 1024 squared) behind the number."""
    expected = f"bytes from {least} to {most}, or a number with K or M"
    return Syntax(
        expected, lambda text: _with_unit(text, _UNITS_OF_SIZE, _OTHER_SIZES, least, most), str
    )


def _parse_user_name(text: str) -> str:
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise InvalidValue("the name is not written in UTF-8") from None
    if not 0 < len(octets) <= LONGEST_TEXT:
        raise InvalidValue(f"a name of {len(octets)} octets")
    return text


def _parse_word(text: str) -> str:
    if text.lower() == "none":
        return ""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise InvalidValue(f"{quoted(text)} is no such word")
    return text


WORD = Syntax(
    "a word of up to 64 letters, digits, dots, hyphens and underscores, or none",
    _parse_word,
    lambda word: word or "none",
)

USER_NAME = Syntax(f"a CHAP name of 1 to {LONGEST_TEXT} octets", _parse_user_name, str)


def _parse_secret(text: str) -> Secret:
    # Octets that are no UTF-8 reach CHAP as they stand in the file.
    secret = Secret(text.encode("utf-8", "surrogateescape"))
    if len(secret) < SHORTEST_SECRET:
        raise InvalidValue(f"a secret of {len(secret)} octets is too short")
    if len(secret) > LONGEST_TEXT:
        raise InvalidValue(f"a secret of {len(secret)} octets is too long")
    return secret


SECRET = Syntax(
    f"a CHAP secret of {SHORTEST_SECRET} to {LONGEST_TEXT} octets",
    _parse_secret,
    lambda _secret: MASK,
    is_secret=True,
)

ALGORITHM_NAMES = {
    "MD5": ChapAlgorithm.MD5,
    "SHA1": ChapAlgorithm.SHA1,
    "SHA256": ChapAlgorithm.SHA256,
    "SHA3-256": ChapAlgorithm.SHA3_256,
}
_ALGORITHM = choice(ALGORITHM_NAMES)


def _parse_algorithms(text: str) -> tuple[ChapAlgorithm, ...]:
    words = [word.strip(" \t") for word in text.split(",")]
    algorithms = tuple(map(_ALGORITHM.parse, words))
    if len(set(algorithms)) < len(algorithms):
        raise InvalidValue(f"{quoted(text)} names an algorithm twice")
    return algorithms


ALGORITHMS = Syntax(
    f"{_ALGORITHM.expected}, or several of them with commas",
    _parse_algorithms,
    lambda algorithms: ",".join(map(_ALGORITHM.format, algorithms)),
    takes_blanks=True,
)


def _parse_commands_max(text: str) -> int:
    number = parse_number(text, 16, 4096)
    if number & (number - 1):
        # The kernel would take the next smaller power of two, in silence.
        raise InvalidValue(
            f"{quoted(text)} is no power of two", suggestion=str(1 << (number.bit_length() - 1))
        )
    return number


COMMANDS_MAX = Syntax("a power of two from 16 to 4096", _parse_commands_max, str)

# RFC 4594's names, and those of the class selectors.
_DSCP_NAMES = {
    **{f"cs{number}": number * 8 for number in range(8)},
    **{f"af{row}{drop}": row * 8 + drop * 2 for row in range(1, 5) for drop in range(1, 4)},
    "ef": 46,
}


def _parse_dscp(text: str) -> int:
    if text.lower() in _DSCP_NAMES:
        return _DSCP_NAMES[text.lower()]
    return parse_number(text, 0, 63)


DSCP = Syntax("a number from 0 to 63, or a name such as cs1, af21 or ef", _parse_dscp, str)


def _parse_luns(text: str) -> frozenset[int] | None:
    if text.lower() == "all":
        return None
    luns: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip(" \t") for word in part.partition("-"))
        lowest = parse_number(first, 0, LARGEST_LUN)
        highest = parse_number(last, 0, LARGEST_LUN) if dash else lowest
        if highest < lowest:
            raise InvalidValue(f"the range {quoted(part.strip())} runs backwards")
        luns.update(range(lowest, highest + 1))
    return frozenset(luns)


def format_luns(luns: frozenset[int] | None) -> str:
    if luns is None:
        return "all"
    ranges: list[list[int]] = []
    for lun in sorted(luns):
        if ranges and lun == ranges[-1][1] + 1:
            ranges[-1][1] = lun
        else:
            ranges.append([lun, lun])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


LUNS = Syntax(
    f"LUNs from 0 to {LARGEST_LUN} such as 0,3,5-7, or all",
    _parse_luns,
    format_luns,
    takes_blanks=True,
)
