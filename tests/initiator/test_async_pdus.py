"""What a PDU that the kernel leaves to user space requests of a session."""

from __future__ import annotations

import pytest

from iscsid import facts
from iscsid.facts import TimerPurpose
from iscsid.initiator.session_tag import parse_session_tag
from iscsid.orders import Order, SendLogout
from tests.support.harness import DISK, Harness


def async_message(event: int, *parameters: int) -> bytes:
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, event
    for place, parameter in zip((38, 40, 42), parameters, strict=False):
        header[place : place + 2] = parameter.to_bytes(2, "big")
    return bytes(header)


def handle(harness: Harness, header: bytes, data: bytes = b"") -> list[Order]:
    return harness.handle(facts.PduReceived(1, header, data))


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    harness.up()
    harness.now += 100
    return harness


@pytest.mark.parametrize("event", [1, 4])
def test_a_request_for_logout_or_negotiation_is_answered_by_a_logout(
    harness: Harness, event: int
) -> None:
    (logout,) = handle(harness, async_message(event, 0, 0, 10))
    assert isinstance(logout, SendLogout)
    session_tag = parse_session_tag(logout.session_tag)
    assert session_tag is not None and session_tag.is_logging_out


@pytest.mark.parametrize("event", [2, 3])
def test_after_an_announced_drop_the_target_is_left_alone_as_long_as_it_asked(
    harness: Harness, event: int
) -> None:
    assert handle(harness, async_message(event, 1, 17, 30)) == []
    broke_at = harness.now
    harness.handle(facts.ConnectionLost(1, "the target closed the connection"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    assert harness.now == broke_at + 17


@pytest.mark.parametrize("event", [0, 5, 77, 255])
def test_other_events_are_noted_and_nothing_more(harness: Harness, event: int) -> None:
    assert handle(harness, async_message(event)) == []
    assert harness.has_logged("info", DISK)


def test_a_reject_is_logged_with_its_reason(harness: Harness) -> None:
    header = bytes([0x3F, 0x80, 0x09]) + bytes(45)
    assert handle(harness, header) == [] and harness.has_logged("warning", DISK, "rejected")


def test_a_malformed_pdu_is_logged_and_changes_nothing(harness: Harness) -> None:
    assert handle(harness, b"\x32\x80") == [] and harness.has_logged("warning", DISK)


def test_an_unexpected_pdu_is_ignored(harness: Harness) -> None:
    assert handle(harness, bytes([0x20, 0x80]) + bytes(46)) == []


def test_a_pdu_for_a_session_that_is_gone_is_ignored(harness: Harness) -> None:
    assert harness.handle(facts.PduReceived(99, async_message(1), b"")) == []
