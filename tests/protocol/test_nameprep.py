"""The preparation of names: folding, replacing, refusing."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.nameprep import IRREGULAR, prepare


@pytest.mark.parametrize(
    "text, prepared",
    [
        ("iqn.2024-01.org.example:disk.1", "iqn.2024-01.org.example:disk.1"),
        ("IQN.2024-01.ORG.Example:Disk", "iqn.2024-01.org.example:disk"),
        ("a_b", "a_b"),
        ("straße", "strasse"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("e\u0301", "\u00e9"),
        ("\u00c9", "\u00e9"),
        ("\uff29\uff31\uff2e", "iqn"),
        ("\ufb01le", "file"),
        ("so\u00adft", "soft"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u05d0\u05d1", "\u05d0\u05d1"),
        ("", ""),
    ],
)
def test_a_name_is_folded_and_normalised(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


FORBIDDEN_ASCII = sorted({chr(code) for code in range(0x80)} - set("_-.:0123456789") - IRREGULAR)


@pytest.mark.parametrize("character", [c for c in FORBIDDEN_ASCII if not c.isalpha()])
def test_a_forbidden_ascii_character_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match=f"U\\+00{ord(character):02X} is forbidden"):
        prepare(f"iqn.2024-01.org:a{character}b")


@pytest.mark.parametrize(
    "character",
    [
        "\u0080",
        "\u00a0",
        "\u1680",
        "\u2028",
        "\u202e",
        "\u2ff0",
        "\u3000",
        "\u3002",
        "\ud800",
        "\udcff",
        "\ue000",
        "\ufdd0",
        "\uff0f",
        "\ufffd",
        "\U000e0041",
        "\U0001f600",
    ],
)
def test_a_forbidden_character_beyond_ascii_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match=re.escape("is forbidden in names")):
        prepare(f"iqn.2024-01.org:a{character}b")


@pytest.mark.parametrize("text", ["iqn.2024-01.org:\u05d0", "a\u05d0", "\u0627b\u0628"])
def test_mixed_writing_directions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="writing directions"):
        prepare(text)


@pytest.mark.parametrize("text", ["1\u05d0", "\u05d01"])
def test_right_to_left_text_fills_the_whole_name(text: str) -> None:
    with pytest.raises(ValueError, match="right to left"):
        prepare(text)


@given(st.text(max_size=40))
def test_a_prepared_name_is_prepared_for_good(text: str) -> None:
    try:
        prepared = prepare(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert prepare(prepared) == prepared
    assert unicodedata.ucd_3_2_0.normalize("NFKC", prepared) == prepared
    assert "/" not in prepared and "\0" not in prepared


@given(st.text(st.sampled_from("abcXYZ019.:-_"), max_size=40))
def test_plain_names_differ_from_their_prepared_form_in_case_only(text: str) -> None:
    assert prepare(text) == text.lower()
