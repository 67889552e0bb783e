"""What may stand behind the equals sign, and the complaint about everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.config import addresses, values
from iscsid.config.settings import DigestPolicy, MultipathPolicy
from iscsid.config.values import InvalidValue, Syntax, parse_number
from iscsid.protocol.parameters import ChapAlgorithm
from iscsid.secret import Secret

TIME = values.time(1, 7200)
SIZE = values.size(512, 2**24 - 1)
COUNT = values.number(0, 1000, "apples")
LONG = "9" * 10_000

GOOD: list[tuple[Syntax[Any], str, object]] = [
    (values.BOOLEAN, "yes", True),
    (values.DSCP, "0", 0),
    (values.DSCP, "63", 63),
    (values.DSCP, "EF", 46),
    (values.DSCP, "cs1", 8),
    (values.DSCP, "AF41", 34),
    (values.COMMANDS_MAX, "4096", 4096),
    (addresses.INTERFACE, "any", None),
    (addresses.INTERFACE, "bond0.100", "bond0.100"),
    (addresses.SOURCE_ADDRESS, "any", None),
    (addresses.SOURCE_ADDRESS, "[2001:DB8::9]", "2001:db8::9"),
    (values.BOOLEAN, "YES", True),
    (values.BOOLEAN, "No", False),
    (values.BOOLEAN, "1", True),
    (values.BOOLEAN, "0", False),
    (TIME, "1", 1),
    (TIME, "90", 90),
    (TIME, "90s", 90),
    (TIME, "2m", 120),
    (TIME, "2h", 7200),
    (TIME, "7200", 7200),
    (TIME, "0x10", 16),
    (SIZE, "512", 512),
    (SIZE, "16777215", 16777215),
    (SIZE, "256K", 262144),
    (SIZE, "1M", 1048576),
    (SIZE, "0X200", 512),
    (COUNT, "0", 0),
    (COUNT, "1000", 1000),
    (values.DIGEST, "always", DigestPolicy.ALWAYS),
    (values.DIGEST, "yes", DigestPolicy.ALWAYS),
    (values.DIGEST, "CRC32C", DigestPolicy.ALWAYS),
    (values.DIGEST, "never", DigestPolicy.NEVER),
    (values.DIGEST, "no", DigestPolicy.NEVER),
    (values.DIGEST, "None", DigestPolicy.NEVER),
    (values.DIGEST, "Prefer-On", DigestPolicy.PREFER_ON),
    (values.DIGEST, "prefer-off", DigestPolicy.PREFER_OFF),
    (values.MULTIPATH, "no", MultipathPolicy.NO),
    (values.MULTIPATH, "yes", MultipathPolicy.PORTAL),
    (values.MULTIPATH, "portal", MultipathPolicy.PORTAL),
    (values.MULTIPATH, "PortalGroup", MultipathPolicy.PORTAL_GROUP),
    (values.LUNS, "all", None),
    (values.LUNS, "ALL", None),
    (values.LUNS, "0", frozenset({0})),
    (values.LUNS, "0,3,5-7", frozenset({0, 3, 5, 6, 7})),
    (values.LUNS, "0, 3 , 5 - 7", frozenset({0, 3, 5, 6, 7})),
    (values.LUNS, "1,1-2,2", frozenset({1, 2})),
    (values.LUNS, "65535", frozenset({65535})),
    (values.ALGORITHMS, "MD5", (ChapAlgorithm.MD5,)),
    (values.ALGORITHMS, "sha256, md5", (ChapAlgorithm.SHA256, ChapAlgorithm.MD5)),
    (values.ALGORITHMS, "SHA3-256,SHA1", (ChapAlgorithm.SHA3_256, ChapAlgorithm.SHA1)),
    (values.USER_NAME, "alice", "alice"),
    (values.USER_NAME, "x" * 255, "x" * 255),
    (values.USER_NAME, "grün", "grün"),
    (values.SECRET, "x" * 12, Secret("x" * 12)),
    (values.SECRET, "x" * 255, Secret("x" * 255)),
    (values.SECRET, "0x0102030405", Secret(b"0x0102030405")),
    (values.SECRET, "grüner Tee \udce9", Secret("grüner Tee ".encode() + b"\xe9")),
]

BAD: list[tuple[Syntax[Any], str, str]] = [
    (values.BOOLEAN, "YESplease", "'YESplease' is none of its words"),
    (values.BOOLEAN, "2", "'2' is none of its words"),
    (values.BOOLEAN, "", "'' is none of its words"),
    (TIME, "0", "'0' is too small"),
    (TIME, "7201", "'7201' is too large"),
    (TIME, "3h", "'3h' is too large"),
    (TIME, "5x", "'5x' is no number"),
    (TIME, "5S", "'5S' has an unknown unit"),
    (TIME, "5 s", "'5 s' has a blank"),
    (TIME, "500ms", "'500ms' has an unknown unit"),
    (TIME, "0.5s", "'0.5s' is no number"),
    (TIME, "s", "'s' is no number"),
    (TIME, "1.5m", "'1.5m' is no number"),
    (TIME, "-1", "'-1' is no number"),
    (SIZE, "511", "'511' is too small"),
    (SIZE, "16777216", "'16777216' is too large"),
    (SIZE, "16M", "'16M' is too large"),
    (SIZE, "1k", "'1k' has an unknown unit"),
    (COUNT, "1001", "'1001' is too large"),
    (COUNT, "+5", "'+5' is no number"),
    (COUNT, "007", "'007' begins with 0, which some programs read as octal"),
    (COUNT, "00", "'00' begins with 0, which some programs read as octal"),
    (COUNT, "0xg", "'0xg' is no number"),
    (COUNT, "0x", "'0x' is no number"),
    (COUNT, "1_0", "'1_0' is no number"),
    (COUNT, "1e3", "'1e3' is no number"),
    (COUNT, " 5", "' 5' is no number"),
    (COUNT, "\uff15", "'\uff15' is no number"),
    (COUNT, str(2**31), "'2147483648' is too large"),
    (COUNT, str(2**64), "'18446744073709551616' is too large"),
    (COUNT, LONG, f"'{LONG[:61]}...' is too large"),
    (values.DIGEST, "maybe", "'maybe' is none of its words"),
    (values.LUNS, "", "'' is no number"),
    (values.LUNS, "1,", "'' is no number"),
    (values.LUNS, "1-", "'' is no number"),
    (values.LUNS, "-1", "'' is no number"),
    (values.LUNS, "7-5", "the range '7-5' runs backwards"),
    (values.LUNS, "1-2-3", "'2-3' is no number"),
    (values.LUNS, "0-65536", "'65536' is too large"),
    (values.LUNS, "none", "'none' is no number"),
    (values.LUNS, "5\u20137", "'5\u20137' is no number"),
    (values.ALGORITHMS, "", "'' is none of its words"),
    (values.ALGORITHMS, "MD5,md5", "'MD5,md5' names an algorithm twice"),
    (values.ALGORITHMS, "MD4", "'MD4' is none of its words"),
    (values.USER_NAME, "", "a name of 0 octets"),
    (values.USER_NAME, "ü" * 128, "a name of 256 octets"),
    (values.USER_NAME, "a\udcff", "the name is not written in UTF-8"),
    (values.SECRET, "", "a secret of 0 octets is too short"),
    (values.SECRET, "x" * 11, "a secret of 11 octets is too short"),
    (values.SECRET, "x" * 256, "a secret of 256 octets is too long"),
]


def _label(value: object) -> str | None:
    return value[:20] if isinstance(value, str) else "" if isinstance(value, Syntax) else None


@pytest.mark.parametrize("syntax, text, value", GOOD, ids=_label)
def test_a_value_means(syntax: Syntax[Any], text: str, value: object) -> None:
    parsed = syntax.parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("syntax", "text", "suggestion"),
    [
        (values.time(0, 1000), "500ms", ""),
        (values.time(0, 1000), "5sec", "5s"),
        (values.time(0, 1000), "5min", "5m"),
        (values.time(0, 10000), "2H", "2h"),
        (values.time(0, 1000), "10secs", "10s"),
        (values.time(0, 1000), "5mins", "5m"),
        (values.time(0, 1000), "5 s", "5s"),
        (values.time(0, 100000), "1d", "24h"),
        (values.time(0, 1000), "1d", ""),
        (values.BOOLEAN, "true", "yes"),
        (values.BOOLEAN, "Off", "no"),
        (values.size(0, 1 << 24), "64B", "64"),
        (values.size(0, 1 << 30), "1GB", "1024M"),
        (values.size(0, (1 << 24) - 1), "16MB", ""),
        (values.size(0, 1 << 24), "64KB", "64K"),
        (values.size(0, 1 << 24), "64k", "64K"),
        (values.size(0, 1 << 24), "1MiB", "1M"),
        (values.COMMANDS_MAX, "100", "64"),
        (values.DIGEST, "CRC32C,None", "prefer-on"),
        (values.DIGEST, "None, CRC32C", "prefer-off"),
        (addresses.PORTAL, "192.0.2.1:3260,1", "192.0.2.1:3260"),
        (addresses.PREFERRED_PORTAL, "192.0.2.1:3260", "192.0.2.1"),
        (addresses.PREFERRED_PORTAL, "[2001:db8::1]:3260", "2001:db8::1"),
    ],
)
def test_what_people_write_is_refused_with_what_is_right(
    syntax: Syntax[Any], text: str, suggestion: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        syntax.parse(text)
    assert caught.value.suggestion == suggestion
    if suggestion:
        syntax.parse(suggestion)


@pytest.mark.parametrize("syntax, text, why", BAD, ids=_label)
def test_an_invalid_value_is_refused(syntax: Syntax[Any], text: str, why: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        syntax.parse(text)
    assert caught.value.why == why


@pytest.mark.parametrize("syntax, text, value", GOOD, ids=_label)
def test_what_is_formatted_is_read_back_as_the_same_value(
    syntax: Syntax[Any], text: str, value: object
) -> None:
    if not syntax.is_secret:
        assert syntax.parse(syntax.format(value)) == value


@pytest.mark.parametrize(
    "syntax, value, text",
    [
        (values.BOOLEAN, True, "yes"),
        (TIME, 90, "90s"),
        (values.time(0, 5), 0, "0"),
        (values.LUNS, frozenset({9, 5, 6, 7, 0}), "0,5-7,9"),
        (values.DIGEST, DigestPolicy.ALWAYS, "always"),
        (values.DIGEST, DigestPolicy.NEVER, "never"),
        (values.MULTIPATH, MultipathPolicy.PORTAL, "portal"),
        (values.ALGORITHMS, (ChapAlgorithm.SHA3_256, ChapAlgorithm.MD5), "SHA3-256,MD5"),
        (values.SECRET, Secret("x" * 12), "********"),
    ],
)
def test_the_canonical_text_of_a_value(syntax: Syntax[Any], value: object, text: str) -> None:
    assert syntax.format(value) == text


@pytest.mark.parametrize(
    "syntax, expected",
    [
        (values.BOOLEAN, "yes or no"),
        (TIME, "seconds from 1 to 7200, or a number with s, m or h"),
        (SIZE, "bytes from 512 to 16777215, or a number with K or M"),
        (COUNT, "apples from 0 to 1000"),
        (values.DIGEST, "always, never, prefer-on or prefer-off"),
        (values.MULTIPATH, "no, portal or portalgroup"),
        (values.LUNS, "LUNs from 0 to 65535 such as 0,3,5-7, or all"),
        (values.ALGORITHMS, "MD5, SHA1, SHA256 or SHA3-256, or several of them with commas"),
        (values.SECRET, "a CHAP secret of 12 to 255 octets"),
    ],
)
def test_the_expected_value_is_described(syntax: Syntax[Any], expected: str) -> None:
    assert syntax.expected == expected


def test_a_word_that_is_nearly_right_brings_a_suggestion() -> None:
    with pytest.raises(InvalidValue) as caught:
        values.DIGEST.parse("prefer-of")
    assert caught.value.suggestion == "prefer-off"


@given(st.text())
def test_a_number_is_plain_digits_and_nothing_else(text: str) -> None:
    try:
        number = parse_number(text, 0, 10**9)
    except InvalidValue:
        return
    assert text.isascii() and number in (int(text, 16 if "x" in text.lower() else 10),)


@given(st.frozensets(st.integers(0, 65535), min_size=1))
def test_every_set_of_luns_survives_being_written(luns: frozenset[int]) -> None:
    assert values.LUNS.parse(values.LUNS.format(luns)) == luns


@given(st.text())
def test_any_text_is_a_value_or_a_misfit(text: str) -> None:
    for syntax in {id(syntax): syntax for syntax, *_ in GOOD}.values():
        try:
            syntax.parse(text)
        except InvalidValue as misfit:
            assert misfit.why.isprintable()
