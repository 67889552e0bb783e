"""What a target sends unasked: pings, Asynchronous Messages, Rejects."""

from __future__ import annotations

import pytest

from iscsid.errors import ProtocolError
from iscsid.protocol.codes import (
    RESERVED_TAG,
    AsyncEvent,
    RejectReason,
)
from iscsid.protocol.discovery_exchange import (
    ConnectionDropped,
    DiscoveryEvent,
    DiscoveryOutcome,
    LogoutRequested,
    SomethingChanged,
)
from iscsid.protocol.pdu import (
    LogoutRequest,
    NopIn,
    NopOut,
    Reject,
    TextRequest,
)
from tests.support import scripted_discovery
from tests.support.scripted_discovery import ANSWER, LUN, Conversation


@pytest.fixture
def asked() -> Conversation:
    return scripted_discovery.asked()


@pytest.fixture
def answered() -> Conversation:
    return scripted_discovery.answered()


def test_a_ping_is_answered_with_its_tag_and_lun(answered: Conversation) -> None:
    answered.deliver(
        NopIn(
            lun=LUN,
            target_transfer_tag=0x1234,
            stat_sn=answered.stat_sn,
            exp_cmd_sn=7,
            max_cmd_sn=7,
        )
    )
    assert answered.sent() == [
        NopOut(
            lun=LUN,
            initiator_task_tag=RESERVED_TAG,
            target_transfer_tag=0x1234,
            cmd_sn=7,
            exp_stat_sn=answered.stat_sn,
        )
    ]
    assert answered.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert answered.exchange.take_notes() == ()


def test_a_ping_amid_an_answer_does_not_disturb_it(asked: Conversation) -> None:
    asked.answer(ANSWER[:30], tag=1, final=False)
    asked.sent()
    asked.deliver(NopIn(target_transfer_tag=9, stat_sn=asked.stat_sn, exp_cmd_sn=7, max_cmd_sn=7))
    assert [type(pdu) for pdu in asked.sent()] == [NopOut]
    asked.answer(ANSWER[30:])
    assert asked.names() == ["iqn.2024-01.org.example:a"]
    assert asked.exchange.take_notes() == ()


def test_a_nop_in_that_asks_nothing_is_not_answered(answered: Conversation) -> None:
    answered.deliver(NopIn(stat_sn=answered.stat_sn, exp_cmd_sn=7, max_cmd_sn=7))
    assert answered.sent() == []
    assert answered.exchange.take_notes() == ()


EVENTS: list[tuple[AsyncEvent, DiscoveryEvent | None]] = [
    (AsyncEvent.SCSI_EVENT, SomethingChanged()),
    (AsyncEvent.LOGOUT_REQUESTED, LogoutRequested(within=3)),
    (AsyncEvent.CONNECTION_DROPPED, ConnectionDropped(time2wait=2, time2retain=3)),
    (AsyncEvent.SESSION_DROPPED, ConnectionDropped(time2wait=2, time2retain=3)),
    (AsyncEvent.NEGOTIATION_REQUESTED, LogoutRequested(within=3)),
    (AsyncEvent.TASKS_ABORTED, None),
    (AsyncEvent.VENDOR_SPECIFIC, SomethingChanged()),
    (AsyncEvent(248), SomethingChanged()),
    (AsyncEvent(77), SomethingChanged()),
]


@pytest.mark.parametrize("number, event", EVENTS)
def test_an_asynchronous_message_becomes_an_event_and_a_note(
    answered: Conversation, number: AsyncEvent, event: DiscoveryEvent | None
) -> None:
    answered.event(number, parameter1=1, parameter2=2, parameter3=3)
    assert answered.exchange.take_events() == (() if event is None else (event,))
    assert answered.exchange.take_events() == ()
    assert answered.exchange.take_notes() == (f"the target reports: {number}",)
    assert answered.exchange.outcome is DiscoveryOutcome.ANSWERED


def test_an_asynchronous_message_amid_an_answer_does_not_disturb_it(asked: Conversation) -> None:
    asked.answer(ANSWER[:30], tag=1, final=False)
    asked.event(AsyncEvent.SCSI_EVENT)
    asked.answer(ANSWER[30:])
    assert asked.names() == ["iqn.2024-01.org.example:a"]
    assert asked.exchange.take_events() == (SomethingChanged(),)
    asked.exchange.log_out()
    assert isinstance(request := asked.sent()[-1], LogoutRequest)
    assert request.exp_stat_sn == asked.stat_sn


def test_a_burst_of_events_is_one_of_each_kind_and_the_latest(answered: Conversation) -> None:
    for number in range(1000):
        answered.event(AsyncEvent.SCSI_EVENT)
        answered.event(AsyncEvent.LOGOUT_REQUESTED, parameter3=number)
    assert answered.exchange.take_events() == (SomethingChanged(), LogoutRequested(within=999))
    assert len(answered.exchange.take_notes()) == 2


@pytest.mark.parametrize("reason", [*RejectReason, RejectReason(0x7F)])
def test_a_reject_names_its_reason(asked: Conversation, reason: RejectReason) -> None:
    rejected = TextRequest(final=True, initiator_task_tag=1, cmd_sn=7, exp_stat_sn=1).encode()
    with pytest.raises(ProtocolError, match=f"rejected our text request: {reason}"):
        asked.deliver(Reject(reason=reason, data=rejected, **asked.numbers()))


def test_a_reject_without_a_header_is_an_error_too(
    asked: Conversation,
) -> None:
    with pytest.raises(ProtocolError, match="rejected our PDU: protocol error"):
        asked.deliver(Reject(reason=RejectReason.PROTOCOL_ERROR, **asked.numbers()))
