"""Whatever legal target comes, the login goes through; whatever is illegal, it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import IscsidError
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.parameters import Isid, LoginResult
from iscsid.protocol.pdu import LoginResponse
from tests.target.login import join_text, split_text
from tests.target.negotiator import DEFAULTS, Negotiator, Pairs
from tests.target.pairing import ISID, RANDOM, carry, failure_of, log_in, make_plan
from tests.target.scripted import ScriptedTarget
from tests.target.strategies import Encounter, encounters

ATTRIBUTES = {
    "HeaderDigest": "header_digest",
    "DataDigest": "data_digest",
    "MaxConnections": "max_connections",
    "InitialR2T": "initial_r2t",
    "ImmediateData": "immediate_data",
    "MaxBurstLength": "max_burst_length",
    "FirstBurstLength": "first_burst_length",
    "DefaultTime2Wait": "default_time2wait",
    "DefaultTime2Retain": "default_time2retain",
    "MaxOutstandingR2T": "max_outstanding_r2t",
    "DataPDUInOrder": "data_pdu_in_order",
    "DataSequenceInOrder": "data_sequence_in_order",
    "ErrorRecoveryLevel": "error_recovery_level",
}


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(getattr(value, "value", value))


def in_the_targets_eyes(model: Negotiator) -> dict[str, str]:
    """Return what holds as the target understood it, with the bursts put in order."""
    values = {name: model.value(name) for name in DEFAULTS}
    shortest = min(int(values["FirstBurstLength"]), int(values["MaxBurstLength"]))
    return {**values, "FirstBurstLength": str(shortest)}


@given(encounters())
def test_every_legal_target_is_logged_in_to_and_both_sides_agree(meeting: Encounter) -> None:
    exchange, target = log_in(meeting.script, meeting.plan)
    assert isinstance(exchange.result, LoginResult)
    ours = {
        name: as_text(getattr(exchange.result.parameters, attribute))
        for name, attribute in ATTRIBUTES.items()
    }
    assert ours == in_the_targets_eyes(target.login.negotiator)


@given(encounters())
def test_the_result_carries_the_targets_numbers(meeting: Encounter) -> None:
    exchange, target = log_in(meeting.script, meeting.plan)
    result = exchange.result
    assert isinstance(result, LoginResult)
    declared = dict(meeting.script.declares).get("MaxRecvDataSegmentLength", "8192")
    assert result.tsih == meeting.script.profile.tsih
    assert result.exp_stat_sn == target.login.stat_sn
    assert result.parameters.target_max_recv_data_segment_length == int(declared)
    assert (
        result.parameters.max_recv_data_segment_length
        == meeting.plan.offer.max_recv_data_segment_length
    )


@given(encounters(), st.integers(1, 60))
def test_however_the_stream_is_cut_the_result_is_the_same(meeting: Encounter, step: int) -> None:
    whole, _ = log_in(meeting.script, meeting.plan)
    cut, _ = log_in(meeting.script, meeting.plan, step=step)
    assert whole.result == cut.result


# --- one illegal thing --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One thing done wrong in one response; ``None`` where it would not be wrong there."""

    words: str
    spoil: Callable[[int, LoginResponse], LoginResponse | bytes | None]

    def __repr__(self) -> str:
        return self.words


def header(words: str, **fields: Any) -> Fault:
    return Fault(words, lambda _number, response: replace(response, **fields))


def only_if(condition: Callable[[int, LoginResponse], bool], fault: Fault) -> Fault:
    def spoil(number: int, response: LoginResponse) -> LoginResponse | bytes | None:
        return fault.spoil(number, response) if condition(number, response) else None

    return Fault(fault.words, spoil)


def text(words: str, name: str, *values: str | None) -> Fault:
    """Return the fault of sending ``values`` for a key that is in the response."""

    def spoil(_number: int, response: LoginResponse) -> LoginResponse | None:
        sent = split_text(response.data)
        if name not in dict(sent):
            return None
        others = tuple(pair for pair in sent if pair[0] != name)
        spoilt: Pairs = tuple((name, value) for value in values if value is not None)
        return replace(response, data=join_text(others + spoilt))

    return Fault(words, spoil)


def is_last(_number: int, response: LoginResponse) -> bool:
    return response.transit and response.next_stage == Stage.FULL_FEATURE_PHASE


def has_transit(_number: int, response: LoginResponse) -> bool:
    return response.transit


def is_not_first(number: int, _response: LoginResponse) -> bool:
    return number > 0


def is_in_chap(_number: int, response: LoginResponse) -> bool:
    sent = dict(split_text(response.data))
    return sent.get("AuthMethod") == "CHAP" or "CHAP_A" in sent


FAULTS = [
    header("another ISID", isid=Isid(bytes(5) + bytes([ISID[5] ^ 1]))),
    header("another task tag", initiator_task_tag=12345),
    header("another version", version_active=1),
    header("a stage that does not exist", current_stage=Stage(2)),
    header("the stage after all others", current_stage=Stage.FULL_FEATURE_PHASE),
    header("an unknown status", status_class=9),
    header("a refusal", status_class=2, status_detail=3),
    header("a redirection to nowhere", status_class=1, status_detail=1, data=b""),
    header("text without an end", data=b"TargetAlias=x"),
    header("text without a key", data=b"\0=x\0"),
    header("a key twice", data=b"X-a=1\0X-a=1\0"),
    header("no key and value", data=b"TargetAlias\0"),
    header("an answer to nothing", data=b"X-never-sent=Reject\0"),
    header("another's name", data=b"InitiatorName=iqn.2024-01.org.example:x\0"),
    header("a tag out of range", data=b"TargetPortalGroupTag=65536\0"),
    header("a limit out of range", data=b"MaxRecvDataSegmentLength=511\0"),
    Fault("another kind of PDU", lambda _, response: b"\x24" + response.encode()[1:]),
    Fault("silence", lambda _, response: b""),
    only_if(has_transit, header("a transit while text continues", continue_=True)),
    only_if(has_transit, header("a transit to nowhere", next_stage=Stage(2))),
    only_if(has_transit, header("a transit backwards", next_stage=Stage.SECURITY_NEGOTIATION)),
    only_if(is_last, header("no session in the end", tsih=0)),
    only_if(is_not_first, Fault("a StatSN left out", lambda _, response: replace(
        response, stat_sn=(response.stat_sn + 1) % 2**32))),
    only_if(is_in_chap, header(
        "a transit not asked for", transit=True, next_stage=Stage.OPERATIONAL_NEGOTIATION)),
    text("a method not offered", "AuthMethod", "SRP"),
    text("no algorithm", "CHAP_A", None),
    text("an algorithm that does not exist", "CHAP_A", "4"),
    text("an identifier too large", "CHAP_I", "256"),
    text("what is no digit", "CHAP_C", "0x12g"),
    text("an empty challenge", "CHAP_C", "0x"),
    text("no challenge", "CHAP_C", None),
    text("another's proof", "CHAP_N", "mallory"),
    text("a wrong proof", "CHAP_R", "0x00"),
    text("no proof", "CHAP_R", None),
    text("a number as a word", "MaxBurstLength", "many"),
    text("a number too small", "MaxBurstLength", "511"),
    text("a number too large", "FirstBurstLength", "16777216"),
    text("more than was offered", "MaxConnections", "2"),
    text("more recovery than was offered", "ErrorRecoveryLevel", "1"),
    text("less waiting than is possible", "DefaultTime2Wait", "-1"),
    text("disorder that is not wanted", "DataPDUInOrder", "No"),
    text("neither yes nor no", "ImmediateData", "Perhaps"),
    text("a digest that does not exist", "HeaderDigest", "MD5"),
    text("two digests", "DataDigest", "None,CRC32C"),
    text("a key answered twice", "InitialR2T", "Yes", "Yes"),
]  # fmt: skip


def responses_of(meeting: Encounter) -> list[LoginResponse]:
    """Return what the target sends when it keeps to the rules."""
    received: list[LoginResponse] = []

    def note(_number: int, response: LoginResponse) -> LoginResponse:
        received.append(response)
        return response

    log_in(replace(meeting.script, amend=note), meeting.plan)
    return received


@given(encounters(answers_only=True), st.data())
def test_one_illegal_thing_and_the_login_does_not_go_through(
    meeting: Encounter, data: st.DataObject
) -> None:
    chances = [
        (number, fault)
        for number, response in enumerate(responses_of(meeting))
        for fault in FAULTS
        if fault.spoil(number, response) is not None
    ]
    at, fault = data.draw(st.sampled_from(chances))

    def amend(number: int, response: LoginResponse) -> LoginResponse | bytes | None:
        spoilt = fault.spoil(number, response) if number == at else response
        return spoilt or None

    error = failure_of(replace(meeting.script, amend=amend), meeting.plan)
    assert str(error).isprintable()


# --- hostile octets -----------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_octets_either_are_waited_for_or_end_the_login(portions: list[bytes]) -> None:
    exchange = LoginExchange(make_plan(), RANDOM)
    with contextlib.suppress(IscsidError):
        for portion in portions:
            while portion and exchange.bytes_wanted:
                wanted = exchange.bytes_wanted
                exchange.receive_data(portion[:wanted])
                portion = portion[wanted:]
            exchange.data_to_send()
    assert exchange.result is None


@given(encounters(), st.integers(0, 8), st.integers(0, 400), st.integers(1, 255))
def test_a_flipped_octet_never_breaks_more_than_the_login(
    meeting: Encounter, at: int, place: int, flip: int
) -> None:
    def amend(number: int, response: LoginResponse) -> LoginResponse | bytes:
        octets = bytearray(response.encode())
        if number != at or place >= len(octets):
            return response
        octets[place] ^= flip
        return bytes(octets)

    exchange = LoginExchange(meeting.plan, RANDOM)
    with contextlib.suppress(IscsidError):
        carry(exchange, ScriptedTarget(replace(meeting.script, amend=amend)))
    assert all(line.isprintable() for line in exchange.trace.take())


KEYS = st.sampled_from(["AuthMethod", "CHAP_A", "CHAP_C", *ATTRIBUTES, "X-a", "TargetAlias"])


@given(encounters(), st.integers(0, 5), st.lists(st.tuples(KEYS, st.text(max_size=40))))
def test_any_text_either_is_answered_or_ends_the_login(
    meeting: Encounter, at: int, pairs: list[tuple[str, str]]
) -> None:
    def edit(number: int, sent: Pairs) -> Pairs:
        return sent + tuple(pairs) if number == at else sent

    exchange = LoginExchange(meeting.plan, RANDOM)
    with contextlib.suppress(IscsidError):
        carry(exchange, ScriptedTarget(replace(meeting.script, edit=edit)))
