"""Asking SendTargets, asking again, and logging out."""

from __future__ import annotations

import pytest

from iscsid.errors import MalformedPdu, ProtocolError
from iscsid.protocol.codes import (
    AsyncEvent,
    LogoutOutcome,
    LogoutReason,
    RejectReason,
)
from iscsid.protocol.discovery_exchange import MAX_PDU_LENGTH, DiscoveryExchange, DiscoveryOutcome
from iscsid.protocol.names import Portal, TargetAddress
from iscsid.protocol.parameters import AgreedParameters, Digest, LoginResult
from iscsid.protocol.pdu import (
    LogoutRequest,
    LogoutResponse,
    NopIn,
    Reject,
    TextRequest,
    TextResponse,
)
from tests.support import scripted_discovery
from tests.support.scripted_discovery import ANSWER, EXP_STAT_SN, ISID, LUN, PORTAL, Conversation


@pytest.fixture
def asked() -> Conversation:
    return scripted_discovery.asked()


@pytest.fixture
def answered() -> Conversation:
    return scripted_discovery.answered()


# --- asking ---------------------------------------------------------------------------------------


def test_the_exchange_begins_by_asking_for_all_targets() -> None:
    conversation = Conversation()
    assert conversation.exchange.outcome is None
    assert conversation.sent() == [
        TextRequest(
            final=True,
            initiator_task_tag=1,
            cmd_sn=7,
            exp_stat_sn=EXP_STAT_SN,
            data=b"SendTargets=All\0",
        )
    ]
    assert conversation.exchange.data_to_send() == b""


def test_a_complete_answer_is_an_outcome(asked: Conversation) -> None:
    asked.answer(ANSWER)
    assert asked.exchange.outcome is DiscoveryOutcome.ANSWERED
    [record] = asked.exchange.take_records()
    assert record.target_name == "iqn.2024-01.org.example:a"
    assert record.addresses == (TargetAddress(Portal("10.0.0.1"), 1),)
    assert asked.sent() == []
    assert asked.exchange.take_notes() == ()


def test_an_empty_answer_is_complete(asked: Conversation) -> None:
    asked.answer(b"")
    assert asked.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert asked.exchange.take_records() == ()


@pytest.mark.parametrize("more", [False, True], ids=["tgtd, without C bit", "LIO, with C bit"])
@pytest.mark.parametrize("tag", [0, 1, 0xFFFFFFFE])
def test_an_answer_that_goes_on_is_asked_for_with_tag_and_lun(
    asked: Conversation, more: bool, tag: int
) -> None:
    for start in range(0, 60, 20):
        asked.answer(ANSWER[start : start + 20], tag=tag, final=False, more=more)
        assert asked.exchange.outcome is None
        assert asked.sent() == [
            TextRequest(
                final=True,
                lun=LUN,
                initiator_task_tag=1,
                target_transfer_tag=tag,
                cmd_sn=7,
                exp_stat_sn=asked.stat_sn,
            )
        ]
    asked.answer(ANSWER[60:], tag=tag)
    assert asked.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert asked.names() == ["iqn.2024-01.org.example:a"]
    assert asked.exchange.take_notes() == ()


def test_records_are_there_while_the_answer_still_comes_in(asked: Conversation) -> None:
    asked.answer(ANSWER + b"TargetName=iqn.2024-01.org", tag=1, final=False)
    assert asked.names() == []
    asked.answer(b".example:b\0", tag=1, final=False)
    assert asked.names() == ["iqn.2024-01.org.example:a"]
    asked.answer(b"")
    assert asked.names() == ["iqn.2024-01.org.example:b"]


def test_an_answer_without_f_bit_and_tag_is_over_and_noted(asked: Conversation) -> None:
    asked.answer(ANSWER, final=False)
    assert asked.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert asked.exchange.take_notes() == ("the answer ended without the F bit",)


def test_an_answer_that_goes_on_without_a_tag_is_an_error(asked: Conversation) -> None:
    with pytest.raises(ProtocolError, match="without a Target Transfer Tag"):
        asked.answer(ANSWER, final=False, more=True)


def test_an_answer_that_goes_on_without_text_is_given_up(asked: Conversation) -> None:
    """LIO does so where no MaxRecvDataSegmentLength was declared."""
    with pytest.raises(ProtocolError, match="no end after 0 octets"):
        for _ in range(1000):
            asked.answer(b"", tag=0, final=False, more=True)


def test_an_answer_to_another_question_is_an_error(asked: Conversation) -> None:
    with pytest.raises(ProtocolError, match="task tag 0x2, ours has 0x1"):
        asked.deliver(TextResponse(final=True, initiator_task_tag=2, **asked.numbers()))


def test_one_pdu_far_longer_than_declared_is_taken(asked: Conversation) -> None:
    """istgt sends its whole answer at once."""
    asked.answer(b"".join(ANSWER.replace(b":a", b":a%05d" % each) for each in range(10_000)))
    assert len(asked.exchange.take_records()) == 10_000


def test_a_pdu_longer_than_any_answer_is_refused_before_it_is_read(asked: Conversation) -> None:
    header = bytearray(48)
    header[0] = 0x24
    header[5:8] = (MAX_PDU_LENGTH + 1).to_bytes(3, "big")
    with pytest.raises(MalformedPdu, match="more than"):
        asked.exchange.receive_data(bytes(header))


def test_a_discovery_session_with_digests_is_an_error_of_ours() -> None:
    agreed = AgreedParameters(header_digest=Digest.CRC32C)
    with pytest.raises(ValueError, match="no digests"):
        DiscoveryExchange(
            LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1, parameters=agreed), PORTAL
        )


# --- asking again and logging out -----------------------------------------------------------------


def test_asking_again_brings_every_target_again(answered: Conversation) -> None:
    answered.exchange.ask_again()
    assert answered.exchange.outcome is None
    [request] = answered.sent()
    assert request == TextRequest(
        final=True,
        initiator_task_tag=2,
        cmd_sn=7,
        exp_stat_sn=answered.stat_sn,
        data=b"SendTargets=All\0",
    )
    answered.deliver(
        TextResponse(final=True, initiator_task_tag=2, data=ANSWER, **answered.numbers())
    )
    assert answered.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert answered.names() == ["iqn.2024-01.org.example:a"]


def test_cmd_sn_follows_a_target_that_counts_immediate_requests(asked: Conversation) -> None:
    """istgt does, and drops the connection over a CmdSN that it believes to be past."""
    asked.exp_cmd_sn = 8
    asked.answer(ANSWER)
    asked.exchange.ask_again()
    [request] = asked.sent()
    assert isinstance(request, TextRequest)
    assert request.cmd_sn == 8


def test_cmd_sn_never_goes_back(asked: Conversation) -> None:
    asked.exp_cmd_sn = 3
    asked.answer(ANSWER)
    asked.exchange.log_out()
    [request] = asked.sent()
    assert isinstance(request, LogoutRequest)
    assert request.cmd_sn == 7


def test_asking_while_the_answer_comes_in_is_an_error_of_ours(asked: Conversation) -> None:
    with pytest.raises(RuntimeError):
        asked.exchange.ask_again()


def test_logging_out_acknowledges_everything_and_closes_the_session(
    answered: Conversation,
) -> None:
    answered.exchange.log_out()
    assert answered.exchange.outcome is None
    assert answered.sent() == [
        LogoutRequest(
            reason=LogoutReason.CLOSE_SESSION,
            initiator_task_tag=2,
            cmd_sn=7,
            exp_stat_sn=0xFFFFFFFF,
        )
    ]
    answered.deliver(LogoutResponse(initiator_task_tag=2, **answered.numbers()))
    assert answered.exchange.outcome is DiscoveryOutcome.LOGGED_OUT
    assert answered.exchange.bytes_wanted == 0
    assert answered.exchange.take_notes() == ()


@pytest.mark.parametrize("outcome", [outcome for outcome in LogoutOutcome if outcome])
def test_a_logout_that_went_badly_is_noted(answered: Conversation, outcome: LogoutOutcome) -> None:
    answered.exchange.log_out()
    answered.deliver(LogoutResponse(response=outcome, initiator_task_tag=2, **answered.numbers()))
    assert answered.exchange.outcome is DiscoveryOutcome.LOGGED_OUT
    assert answered.exchange.take_notes() == (f"the target answered our Logout Request: {outcome}",)


def test_a_rejected_logout_is_the_end_too(answered: Conversation) -> None:
    answered.exchange.log_out()
    answered.deliver(Reject(reason=RejectReason.PROTOCOL_ERROR, **answered.numbers()))
    assert answered.exchange.outcome is DiscoveryOutcome.LOGGED_OUT
    assert answered.exchange.take_notes() == (
        "the target rejected our Logout Request: protocol error",
    )


def test_logging_out_in_the_midst_of_an_answer_lets_the_rest_of_it_pass(
    asked: Conversation,
) -> None:
    asked.answer(ANSWER, tag=1, final=False)
    asked.sent()
    asked.exchange.log_out()
    asked.answer(ANSWER, tag=1, final=False)
    asked.deliver(NopIn(target_transfer_tag=5, **asked.numbers()))
    [request] = asked.sent()
    assert isinstance(request, LogoutRequest)
    asked.deliver(LogoutResponse(initiator_task_tag=2, **asked.numbers()))
    assert asked.exchange.outcome is DiscoveryOutcome.LOGGED_OUT


def test_logging_out_twice_is_an_error_of_ours(answered: Conversation) -> None:
    answered.exchange.log_out()
    with pytest.raises(RuntimeError):
        answered.exchange.log_out()
    with pytest.raises(RuntimeError):
        answered.exchange.ask_again()


# --- numbers --------------------------------------------------------------------------------------


def test_a_stat_sn_out_of_turn_is_noted_and_acknowledged(asked: Conversation) -> None:
    asked.stat_sn += 5
    asked.answer(ANSWER)
    assert asked.exchange.outcome is DiscoveryOutcome.ANSWERED
    assert asked.exchange.take_notes() == ("StatSN was not the next one in a PDU (text response)",)
    asked.exchange.log_out()
    [request] = asked.sent()
    assert isinstance(request, LogoutRequest)
    assert request.exp_stat_sn == asked.stat_sn


def test_an_old_stat_sn_never_takes_an_acknowledgement_back(answered: Conversation) -> None:
    answered.stat_sn -= 2
    answered.event(AsyncEvent.TASKS_ABORTED)
    answered.exchange.log_out()
    [request] = answered.sent()
    assert isinstance(request, LogoutRequest)
    assert request.exp_stat_sn == 0xFFFFFFFF
