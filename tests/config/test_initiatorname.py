"""/etc/initiatorname.iscsi: who we are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.config.diagnostics import ConfigurationErrors
from iscsid.config.initiatorname import (
    InitiatorIdentity,
    missing_initiator_name,
    parse_initiator_name,
)
from iscsid.protocol.names import IscsiName

NAME = "iqn.1987-05.com.cisco:01.c82dc85b33"
FILE = "/etc/initiatorname.iscsi"
COMMAND = f'echo "InitiatorName=$(iscsi-iname)" > {FILE}'


def diagnostics(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        parse_initiator_name(text, FILE)
    return list(caught.value.lines)


@pytest.mark.parametrize(
    "text",
    [
        f"InitiatorName={NAME}",
        f"InitiatorName={NAME}\n",
        f"InitiatorName={NAME}\r\n",
        f"  InitiatorName = {NAME}  # mine\n",
        f'initiatorname="{NAME}"',
        f"## made by a script\n\nInitiatorName={NAME}\n",
        f"\ufeffInitiatorName={NAME}\n",
    ],
)
def test_a_name_may_be_written_in_many_ways(text: str) -> None:
    assert parse_initiator_name(text, FILE) == InitiatorIdentity(IscsiName(NAME), "")
    assert parse_initiator_name(text.encode(), FILE).name == NAME


def test_the_name_is_kept_as_it_is_written_and_capitals_are_noted() -> None:
    text = "InitiatorName=iqn.2001-04.com.example:HOST-A"
    identity = parse_initiator_name(text, FILE)
    assert identity.name == "iqn.2001-04.com.example:HOST-A"
    (note,) = identity.notes
    assert str(note) == (
        f"{FILE}:1:15: note: the name is sent as it is written here, not as "
        "iqn.2001-04.com.example:host-a: some targets distinguish"
    )


@pytest.mark.parametrize("name", ["host-a", "iqn.2017.11.org.example:a", "iqn.2001-4.org:a"])
def test_a_name_outside_the_grammar_is_used_and_noted(name: str) -> None:
    identity = parse_initiator_name(f"InitiatorName={name}", FILE)
    assert identity.name == name
    (note,) = identity.notes
    assert "against the rules for iSCSI names" in str(note)


def test_the_last_name_counts() -> None:
    text = f"InitiatorName=iqn.2001-04.com.example:first\nInitiatorName={NAME}\n"
    assert parse_initiator_name(text, FILE).name == NAME


def test_an_alias_may_have_blanks_and_any_letters() -> None:
    text = f"InitiatorAlias = Büro, 2. Stock\nInitiatorName={NAME}\n"
    assert parse_initiator_name(text, FILE).alias == "Büro, 2. Stock"


@pytest.mark.parametrize("text", ["", "\n", "# InitiatorName=x\n", "InitiatorAlias=here\n"])
def test_a_file_without_a_name_is_refused_with_the_command_that_makes_one(text: str) -> None:
    expected = f"{FILE}: an InitiatorName is required; expected one line: {COMMAND}"
    assert diagnostics(text) == [expected]
    assert str(missing_initiator_name(FILE)) == expected


@pytest.mark.parametrize(
    "text, diagnostic",
    [
        ("InitiatorName=", f"{FILE}:1:15: no value after '='; expected Keyword=value"),
        (
            "InitiatorName=a/b",
            f"{FILE}:1:15: InitiatorName: 'a/b' is no iSCSI name: "
            "the character U+002F is forbidden in names",
        ),
        (
            f"InitiatorName={NAME}\nInitiatorNane=x",
            f"{FILE}:2:1: unknown keyword 'InitiatorNane'; did you mean InitiatorName?",
        ),
        (
            f"InitiatorName={NAME}\nLoginTimeout=1",
            f"{FILE}:2:1: unknown keyword 'LoginTimeout'; expected InitiatorName or InitiatorAlias",
        ),
        (
            "GenerateName=yes",
            f"{FILE}:1:1: GenerateName is no longer replaced at the start; expected {COMMAND}",
        ),
        (
            f"InitiatorName={NAME}\nInitiatorAlias=" + "x" * 256,
            f"{FILE}:2:16: InitiatorAlias: the alias has 256 octets, more than 255",
        ),
        (
            b"InitiatorName=iqn.2001-04.com.example:a\nInitiatorAlias=B\xfcro",
            f"{FILE}:2:16: InitiatorAlias: the alias is not written in UTF-8",
        ),
        (
            f"InitiatorName={NAME}\n".encode("utf-16"),
            f"{FILE}:1:1: the file is written in UTF-16; "
            f"expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {FILE}",
        ),
    ],
)
def test_an_error_is_reported_with_its_position(text: str | bytes, diagnostic: str) -> None:
    assert diagnostics(text) == [diagnostic]


def test_a_name_with_a_blank_in_it_is_no_name() -> None:
    (diagnostic,) = diagnostics(f"InitiatorName={NAME} and more")
    assert diagnostic.startswith(
        f"{FILE}:1:15: InitiatorName: '{NAME} and more' is no iSCSI name: "
    )


def test_all_complaints_come_at_once() -> None:
    assert len(diagnostics("Foo\nInitiatorName=a/x\nBar=1\n")) == 3


@given(st.binary(max_size=200))
def test_any_octets_are_an_identity_or_complaints(octets: bytes) -> None:
    try:
        identity = parse_initiator_name(octets, FILE)
    except ConfigurationErrors as errors:
        assert errors.diagnostics
    else:
        assert identity.name
