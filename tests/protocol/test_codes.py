"""The numbers of PDUs, by name, and what becomes of those that have none."""

from __future__ import annotations

import copy
import pickle

import pytest

from iscsid.protocol.codes import (
    AsyncEvent,
    LogoutOutcome,
    LogoutReason,
    Opcode,
    OpenIntEnum,
    RejectReason,
    Stage,
)

ENUMERATIONS = [Opcode, Stage, LogoutReason, LogoutOutcome, AsyncEvent, RejectReason]


@pytest.mark.parametrize("kind", ENUMERATIONS)
def test_every_octet_is_a_member_and_prints_as_one_line(kind: type[OpenIntEnum]) -> None:
    for number in range(256):
        member = kind(number)
        assert member == number
        assert isinstance(member, kind)
        assert str(member).isprintable() and str(member)
        assert f"{member}" == str(member)
        assert repr(member).isprintable()


@pytest.mark.parametrize("kind", ENUMERATIONS)
def test_a_number_without_a_name_prints_its_number(kind: type[OpenIntEnum]) -> None:
    member = kind(0x7E)
    assert not member.is_known
    assert str(member) == "unknown 0x7e"
    assert member == kind(0x7E)
    assert hash(member) == hash(kind(0x7E))


def test_a_known_number_prints_as_words() -> None:
    assert str(Opcode.LOGIN_RESPONSE) == "login response"
    assert f"{RejectReason(0x0C)}" == "waiting for logout"
    assert Opcode.REJECT.is_known


def test_a_format_specification_means_the_number() -> None:
    assert f"{Opcode.REJECT:#04x}" == "0x3f"
    assert f"{Opcode(0x7E):d}" == "126"


def test_an_unknown_number_does_not_join_the_enumeration() -> None:
    AsyncEvent(0x70)
    assert 0x70 not in [event.value for event in AsyncEvent]


def test_unknown_numbers_survive_copying_and_pickling() -> None:
    assert copy.deepcopy(Opcode(0x7E)) == 0x7E
    assert pickle.loads(pickle.dumps(Opcode(0x7E))) == 0x7E


@pytest.mark.parametrize("value", ["3", None, 3.5])
def test_what_is_no_number_is_no_member(value: object) -> None:
    with pytest.raises(ValueError):
        Opcode(value)  # type: ignore[arg-type]
