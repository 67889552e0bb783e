"""Asking the LUNs what they are: what is asked, and what counts as the same."""

from __future__ import annotations

from typing import Any

import pytest

from iscsid.errors import Retry
from iscsid.protocol.lun_identity import SHOWN, SPARE
from iscsid.protocol.parameters import Digest
from iscsid.protocol.scsi import (
    ScsiStatus,
    encode_lun,
)
from iscsid.protocol.vpd import ReplacedLun, fingerprint
from tests.support.lun_fixtures import (
    ISTGT_NO_SUCH_LUN,
    ISTGT_PAGE,
    NAA,
    T10,
    TGTD_NO_SUCH_LUN,
    TGTD_PAGE,
    designator,
    naa,
    page,
)
from tests.support.scripted_lun_identity import (
    MEDIUM_ERROR,
    NO_SUCH_FIELD,
    NO_SUCH_LUN,
    UNIT_ATTENTION,
    Talk,
)

both = pytest.mark.parametrize("digest", Digest)

NOT_NOW: dict[str, dict[str, Any]] = {
    "busy": {"status": ScsiStatus.BUSY},
    "full": {"status": ScsiStatus.TASK_SET_FULL},
    "aborted": {"status": ScsiStatus.TASK_ABORTED},
    "attention": {"status": ScsiStatus.CHECK_CONDITION, "sense": UNIT_ATTENTION},
    "failed": {"status": ScsiStatus.GOOD, "response": 1},
}


# --- the same ------------------------------------------------------------------------------------


@both
def test_the_same_units_are_confirmed_and_the_kernels_numbers_are_due(digest: Digest) -> None:
    talk = Talk((0, TGTD_PAGE), (16640, ISTGT_PAGE), (7, naa(7)), digest=digest)
    for lun, answer in ((0, TGTD_PAGE), (16640, ISTGT_PAGE), (7, naa(7))):
        assert talk.exchange.result is None
        asked = talk.answer(answer)
        assert asked.lun == encode_lun(lun) and asked.read
        assert asked.cdb[:6] == bytes.fromhex("12 01 83 00 ff 00")
        assert asked.expected_data_transfer_length == 255
    assert talk.is_confirmed()


def test_spare_numbers_are_used_up_whatever_the_responses_are() -> None:
    talk = Talk((1, naa(1)), (2, naa(2)))
    talk.answer(naa(1))
    talk.answer(naa(2))
    assert talk.question().lun == encode_lun(2)
    talk.data(TGTD_NO_SUCH_LUN)
    talk.question()
    talk.status(ScsiStatus.GOOD, response=1)
    assert talk.use_up() == SPARE - 2
    assert talk.is_confirmed()


@pytest.mark.parametrize("answer", [{"status": ScsiStatus.GOOD}, *NOT_NOW.values()])
def test_a_unit_attention_of_a_disk_is_taken_before_the_kernel_s_first_command(
    answer: dict[str, Any],
) -> None:
    talk = Talk((1, naa(1)), (2, naa(2)))
    talk.readiness = answer
    talk.answer(naa(1))
    talk.answer(naa(2))
    assert talk.use_up() == SPARE
    assert talk.cleared == [encode_lun(1), encode_lun(2)]
    assert talk.is_confirmed()


def test_a_tape_keeps_its_unit_attention() -> None:
    tape = page(designator(T10, b"VENDOR  tape"), device=1)
    talk = Talk((1, tape), (2, naa(2)))
    talk.answer(tape)
    talk.answer(naa(2))
    assert talk.use_up() == SPARE + 1
    assert talk.cleared == [encode_lun(2)]
    assert talk.is_confirmed()


def test_the_next_lun_is_asked_only_after_the_answer() -> None:
    talk = Talk((1, naa(1)), (2, naa(2)))
    talk.question()
    assert talk.received() == []
    talk.data(naa(1))
    assert talk.question().lun == encode_lun(2)


def test_a_status_of_its_own_ends_the_answer_too() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    talk.data(naa(1), last=False)
    assert talk.exchange.result is None
    talk.status(ScsiStatus.GOOD)
    assert talk.is_confirmed()


def test_an_answer_in_pieces_is_joined() -> None:
    talk = Talk((1, TGTD_PAGE))
    talk.question()
    talk.data(TGTD_PAGE[:40], last=False)
    talk.data(TGTD_PAGE[40:], offset=40)
    assert talk.is_confirmed()


def test_a_page_longer_than_usual_is_asked_for_with_its_own_length() -> None:
    long = page(*(designator(T10, b"VENDOR  " + bytes([65 + n]) * 60) for n in range(5)))
    asked = Talk((1, long)).question()
    assert asked.expected_data_transfer_length == len(long) > 255


GROWN = page(*(designator(T10, b"VENDOR  " + bytes([65 + n]) * 60) for n in range(5)))


def test_a_page_that_has_grown_is_asked_for_again_where_the_name_was_cut_off() -> None:
    talk = Talk((1, page(designator(T10, b"VENDOR  " + b"E" * 60))))
    talk.answer(GROWN[:255])
    again = talk.answer(GROWN)
    assert again.expected_data_transfer_length == len(GROWN)
    assert talk.is_confirmed()


def test_a_page_that_has_grown_behind_the_name_is_the_same() -> None:
    talk = Talk((1, page(designator(T10, b"VENDOR  " + b"A" * 60))))
    talk.answer(GROWN[:255])
    assert talk.use_up() == SPARE
    assert talk.is_confirmed()


def test_names_of_ports_and_new_names_make_no_other_unit() -> None:
    unit, port = designator(NAA, b"\x50" + bytes(7)), designator(NAA, b"\x51" * 8, association=1)
    talk = Talk((1, page(unit, port)))
    talk.answer(page(designator(T10, b"VENDOR  new"), unit))
    assert talk.is_confirmed()


# --- not the same -------------------------------------------------------------------------------


def test_exchanged_units_are_found_out_all_of_them() -> None:
    talk = Talk((1, naa(1)), (2, naa(2)), (3, naa(3)))
    for answer in (naa(2), naa(1), naa(3)):
        talk.answer(answer)
    was, now = "naa.6" + "0" * 30 + "1", "naa.6" + "0" * 30 + "2"
    assert talk.failure.retry is Retry.LATER
    assert talk.failure.what == (
        f"LUN 1: another logical unit than before answers here: it was {was!r} and is {now!r}; "
        f"LUN 2: another logical unit than before answers here: it was {now!r} and is {was!r}"
    )
    assert "blocked" in talk.failure.advice


def test_a_name_that_is_gone_is_another_unit_although_a_better_one_stays() -> None:
    """tgtd makes its NAA designators of the LUN's number unless it is given others."""
    positional = designator(NAA, b"\x60" + bytes(15))
    talk = Talk((1, page(designator(T10, b"IET     red"), positional)))
    talk.answer(page(designator(T10, b"IET     blue"), positional))
    assert "it was 't10.IET     red' and is 't10.IET     blue'" in talk.failure.what


@pytest.mark.parametrize("answer", [TGTD_NO_SUCH_LUN, ISTGT_NO_SUCH_LUN, b""])
def test_a_unit_that_is_missing_may_come_back_soon(answer: bytes) -> None:
    talk = Talk((4, TGTD_PAGE))
    talk.answer(answer)
    assert talk.failure.retry is Retry.SOON
    assert talk.failure.what == (
        "LUN 4: no logical unit answers here any more: it was "
        "'naa.60000000000000000e00000000010001'"
    )


STATUSES = {
    "no such LUN": (ScsiStatus.CHECK_CONDITION, NO_SUCH_LUN, "no logical unit", Retry.SOON),
    "no such page": (ScsiStatus.CHECK_CONDITION, NO_SUCH_FIELD, "24/00", Retry.LATER),
    "broken": (ScsiStatus.CHECK_CONDITION, MEDIUM_ERROR, "medium error", Retry.LATER),
    "no sense": (ScsiStatus.CHECK_CONDITION, b"", "check condition", Retry.LATER),
    "reserved": (ScsiStatus.RESERVATION_CONFLICT, b"", "reservation", Retry.LATER),
}


@pytest.mark.parametrize(("status", "sense", "words", "retry"), STATUSES.values(), ids=STATUSES)
def test_a_unit_without_identity_is_not_the_same(
    status: ScsiStatus, sense: bytes, words: str, retry: Retry
) -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    talk.status(status, sense)
    assert talk.failure.retry is retry
    assert talk.failure.what.startswith("LUN 1: ") and words in talk.failure.what


def test_one_unit_that_is_another_makes_the_failure_a_slow_one() -> None:
    talk = Talk((1, naa(1)), (2, naa(2)))
    talk.answer(TGTD_NO_SUCH_LUN)
    talk.answer(naa(3))
    assert talk.failure.retry is Retry.LATER


def test_a_failure_of_many_units_counts_those_it_does_not_name() -> None:
    talk = Talk(*((lun, naa(lun)) for lun in range(SHOWN + 9)))
    for _ in range(SHOWN + 9):
        talk.answer(naa(99))
    assert talk.failure.what.count("another logical unit") == SHOWN
    assert talk.failure.what.endswith("; 9 more LUNs likewise")
    assert len(talk.failure.what) < 1000


def test_after_a_failure_the_numbers_serve_a_logout() -> None:
    talk = Talk((1, naa(1)))
    talk.answer(naa(2))
    result = talk.exchange.result
    assert result is not None
    assert (result.cmd_sn, result.exp_stat_sn) == (talk.exp_cmd_sn, talk.stat_sn)


# --- not now ------------------------------------------------------------------------------------

each_not_now = pytest.mark.parametrize("answer", NOT_NOW.values(), ids=NOT_NOW)


@each_not_now
def test_a_unit_that_is_busy_is_asked_again(answer: dict[str, Any]) -> None:
    talk = Talk((1, naa(1)), (2, naa(2)))
    first = talk.question()
    talk.status(**answer)
    again = talk.answer(naa(1))
    assert again.lun == first.lun
    assert again.initiator_task_tag != first.initiator_task_tag
    talk.answer(naa(2))
    assert talk.use_up() == SPARE - 1
    assert talk.is_confirmed()


@each_not_now
def test_a_unit_that_stays_busy_is_not_confirmed(answer: dict[str, Any]) -> None:
    talk = Talk((1, naa(1)))
    for _ in range(SPARE + 1):
        talk.question()
        talk.status(**answer)
    assert talk.failure.retry is Retry.SOON
    assert talk.failure.what.startswith("LUN 1: its identity cannot be read: ")


def test_what_came_before_a_busy_status_does_not_count() -> None:
    talk = Talk((1, naa(1)))
    talk.question()
    talk.data(naa(1), last=False)
    talk.status(ScsiStatus.BUSY)
    talk.answer(naa(1))
    assert talk.is_confirmed()


def test_a_page_that_claims_to_grow_with_every_answer_comes_to_an_end() -> None:
    talk = Talk((1, naa(1)))
    for length in range(500, 500 + 100 * (SPARE + 1), 100):
        talk.answer(b"\0\x83" + length.to_bytes(2, "big") + naa(2)[4:])
    assert talk.failure.what == "LUN 1: its identity cannot be read: its page has grown"


# --- another identity that a person has accepted -------------------------------------------------


def test_a_refusal_names_the_identity_that_sighup_would_accept() -> None:
    talk = Talk((1, naa(1)))
    talk.answer(naa(9))
    assert talk.exchange.replaced == [ReplacedLun(1, fingerprint(naa(9)))]
    assert talk.exchange.failure is not None and "accept it with SIGHUP" in str(
        talk.exchange.failure
    )


def test_the_accepted_identity_is_taken_and_its_unit_attention_with_it() -> None:
    talk = Talk((1, naa(1)), accepted=(ReplacedLun(1, fingerprint(naa(9))),))
    talk.answer(naa(9))
    assert talk.use_up() == SPARE
    assert talk.cleared == [encode_lun(1)]
    assert talk.is_confirmed()


OTHERS = [ReplacedLun(1, fingerprint(naa(8))), ReplacedLun(2, fingerprint(naa(9)))]


@pytest.mark.parametrize("other", OTHERS)
def test_what_was_accepted_is_no_other_identity_and_no_other_lun(other: ReplacedLun) -> None:
    talk = Talk((1, naa(1)), accepted=(other,))
    talk.answer(naa(9))
    assert talk.exchange.failure is not None


def test_a_lun_that_does_not_answer_cannot_be_accepted() -> None:
    talk = Talk((1, naa(1)))
    talk.answer(TGTD_NO_SUCH_LUN)
    assert talk.exchange.replaced == []
    assert talk.exchange.failure is not None and "SIGHUP" not in str(talk.exchange.failure)
