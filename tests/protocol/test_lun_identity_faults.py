"""What comes between question and answer, and the faults a target may commit there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import MalformedPdu, ProtocolError
from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, RejectReason
from iscsid.protocol.lun_identity import QUESTIONS, SPARE, lower_cmd_sn
from iscsid.protocol.parameters import Digest
from iscsid.protocol.pdu import AsyncMessage, NopIn, NopOut, Reject, TextResponse
from iscsid.protocol.scsi import (
    ScsiDataIn,
    ScsiStatus,
    encode_lun,
)
from iscsid.protocol.serial import MODULUS, add
from tests.support.lun_fixtures import (
    naa,
)
from tests.support.scripted_lun_identity import EXP_STAT_SN, Talk
from tests.target.pairing import make_plan

both = pytest.mark.parametrize("digest", Digest)


# --- in between ---------------------------------------------------------------------------------


@both
def test_a_ping_is_answered_and_the_question_stays(digest: Digest) -> None:
    talk = Talk((1, naa(1)), digest=digest)
    talk.question()
    lun = encode_lun(1)
    talk.deliver(NopIn(lun=lun, target_transfer_tag=0x42, **talk.numbers(counts=False)))
    (pong,) = talk.received()
    assert pong == NopOut(
        lun=lun,
        initiator_task_tag=RESERVED_TAG,
        target_transfer_tag=0x42,
        cmd_sn=talk.exp_cmd_sn,
        exp_stat_sn=EXP_STAT_SN,
    )
    talk.data(naa(1))
    assert talk.is_confirmed()


def test_a_ping_that_wants_no_answer_gets_none() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    talk.deliver(NopIn(**talk.numbers(counts=False)))
    assert talk.received() == []


def test_an_asynchronous_message_is_counted_and_passed_over() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    talk.deliver(AsyncMessage(async_event=AsyncEvent.SCSI_EVENT, **talk.numbers()))
    talk.data(naa(1))
    assert talk.is_confirmed()


# --- faults of the target's ---------------------------------------------------------------------


def test_a_rejected_question_ends_the_attempt() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    with pytest.raises(ProtocolError, match="rejected a SCSI command: command not supported"):
        talk.deliver(
            Reject(reason=RejectReason.COMMAND_NOT_SUPPORTED, data=bytes(48), **talk.numbers())
        )


def test_a_target_that_counts_more_commands_than_were_sent_is_found_out() -> None:
    """The kernel's commands would be behind the target's back, and never answered."""
    talk = Talk((1, naa(1)))
    talk.question()
    talk.exp_cmd_sn = add(talk.exp_cmd_sn)
    with pytest.raises(ProtocolError, match="counts more commands than were sent"):
        talk.data(naa(1))


@pytest.mark.parametrize(
    ("fields", "diagnostic"),
    [
        ({"initiator_task_tag": 0x999}, "task tag 0x999"),
        ({"offset": 4}, "does not follow"),
        ({"octets": bytes(256)}, "more data came"),
    ],
)
def test_data_that_does_not_belong_to_the_question_is_refused(
    fields: dict[str, Any], diagnostic: str
) -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    with pytest.raises(ProtocolError, match=diagnostic):
        talk.data(**{"octets": naa(1)} | fields)


def test_a_response_to_another_command_is_refused() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    with pytest.raises(ProtocolError, match="task tag"):
        talk.status(ScsiStatus.GOOD, initiator_task_tag=0x999)


def test_a_pdu_of_another_kind_is_refused() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    with pytest.raises(ProtocolError, match="text response"):
        talk.deliver(TextResponse(final=True, **talk.numbers()))


@pytest.mark.parametrize(("spoilt", "what"), [(30, "header"), (48, "header"), (60, "data")])
def test_a_wrong_digest_is_noticed(spoilt: int, what: str) -> None:
    talk = Talk((1, naa(1)), digest=Digest.CRC32C)
    talk.question()
    fields = {"initiator_task_tag": talk.task_tag} | talk.numbers()
    with pytest.raises(MalformedPdu, match=f"the {what} digest"):
        talk.deliver(ScsiDataIn(has_status=True, data=naa(1), **fields), spoilt)


def test_more_octets_than_wanted_are_refused() -> None:
    talk = Talk((1, naa(1)))
    with pytest.raises(ValueError, match="were wanted"):
        talk.exchange.receive_data(bytes(49))
    with pytest.raises(RuntimeError, match="have been asked"):
        done = Talk((1, naa(1)))
        done.answer(naa(1))
        done.use_up()
        done.exchange.receive_data(b"x")


# --- numbers ------------------------------------------------------------------------------------


@given(st.integers(0, MODULUS - 1), st.integers(0, 300))
def test_the_login_begins_so_much_lower_that_the_kernels_number_follows(k: int, luns: int) -> None:
    plan = make_plan(cmd_sn=k)
    lower = lower_cmd_sn(plan, [(lun, b"") for lun in range(luns)])
    assert (lower.cmd_sn + (luns and QUESTIONS * luns + SPARE)) % MODULUS == k
    assert replace(lower, cmd_sn=k) == plan
