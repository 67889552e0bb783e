"""What a PDU that the kernel hands up asks of a session."""

from __future__ import annotations

import pytest

from iscsid import facts
from iscsid.facts import TimerPurpose
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.orders import Order, SendLogout
from tests.support.harness import DISK, Stage


def async_message(event: int, *parameters: int) -> bytes:
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, event
    for place, parameter in zip((38, 40, 42), parameters, strict=False):
        header[place : place + 2] = parameter.to_bytes(2, "big")
    return bytes(header)


def tell(stage: Stage, header: bytes, data: bytes = b"") -> list[Order]:
    return stage.tell(facts.PduReceived(1, header, data))


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.up()
    stage.now += 100
    return stage


@pytest.mark.parametrize("event", [1, 4])
def test_a_request_for_logout_or_negotiation_is_answered_by_a_logout(
    stage: Stage, event: int
) -> None:
    (logout,) = tell(stage, async_message(event, 0, 0, 10))
    assert isinstance(logout, SendLogout)
    session_tag = parse_session_tag(logout.session_tag)
    assert session_tag is not None and session_tag.is_logging_out


@pytest.mark.parametrize("event", [2, 3])
def test_after_an_announced_drop_the_target_is_left_alone_as_long_as_it_asked(
    stage: Stage, event: int
) -> None:
    assert tell(stage, async_message(event, 1, 17, 30)) == []
    broke_at = stage.now
    stage.tell(facts.ConnectionLost(1, "the target closed the connection"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    assert stage.now == broke_at + 17


@pytest.mark.parametrize("event", [0, 5, 77, 255])
def test_other_events_are_noted_and_nothing_more(stage: Stage, event: int) -> None:
    assert tell(stage, async_message(event)) == []
    assert stage.said("info", DISK)


def test_a_reject_is_told_with_its_reason(stage: Stage) -> None:
    header = bytes([0x3F, 0x80, 0x09]) + bytes(45)
    assert tell(stage, header) == [] and stage.said("warning", DISK, "rejected")


def test_a_pdu_that_makes_no_sense_is_told_and_harms_nothing(stage: Stage) -> None:
    assert tell(stage, b"\x32\x80") == [] and stage.said("warning", DISK)


def test_a_pdu_that_nobody_waits_for_is_ignored(stage: Stage) -> None:
    assert tell(stage, bytes([0x20, 0x80]) + bytes(46)) == []


def test_a_pdu_for_a_session_that_is_gone_is_ignored(stage: Stage) -> None:
    assert stage.tell(facts.PduReceived(99, async_message(1), b"")) == []
