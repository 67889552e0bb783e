"""Offered, answered, agreed: what a target may answer, and what it gets for its own offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import NegotiationError
from iscsid.protocol.keys import KEYS, Key, Rule
from iscsid.protocol.negotiation import OperationalNegotiation
from iscsid.protocol.parameters import AgreedParameters, Digest, Offer
from tests.target.pairing import INITIATOR, TARGET, make_plan

NUMERICAL = [key for key in KEYS.values() if key.rule in (Rule.MINIMUM, Rule.MAXIMUM) and key.ours]
WIDE = Offer(max_burst_length=16777215, first_burst_length=16777215, max_outstanding_r2t=65535)
NUMBERS_IN_DISGUISE = [
    "-1", "+5", "007", "0xg", "0x", "1.5", "1e3", "", " 512", "512 ", "512\t", "512,1024", "1~5",
    "５１２", "1_000", "0b10", "0o7", "Yes", "9" * 400, str(2**32), str(2**64), "0x" + "f" * 17,
]  # fmt: skip


def negotiation(offer: Offer | None = None, *, discovery: bool = False) -> OperationalNegotiation:
    """Return a negotiation whose offers are made."""
    made = OperationalNegotiation(make_plan(offer=offer, discovery=discovery))
    made.offers()
    return made


def unmade(offer: Offer | None = None, *, discovery: bool = False) -> OperationalNegotiation:
    """Return a negotiation in which nothing has been sent yet."""
    return OperationalNegotiation(make_plan(offer=offer, discovery=discovery))


# --- what we offer ------------------------------------------------------------------------------


def test_a_normal_session_names_initiator_and_target() -> None:
    assert unmade().identity == (
        ("InitiatorName", INITIATOR),
        ("SessionType", "Normal"),
        ("TargetName", TARGET),
    )


def test_a_discovery_session_names_no_target() -> None:
    assert unmade(discovery=True).identity == (
        ("InitiatorName", INITIATOR),
        ("SessionType", "Discovery"),
    )


def test_an_alias_is_sent_if_there_is_one() -> None:
    named = OperationalNegotiation(replace(make_plan(), initiator_alias="the attic"))
    assert ("InitiatorAlias", "the attic") in named.identity
    assert named.receive((("InitiatorAlias", "NotUnderstood"),)) == ()


def test_every_session_key_is_offered_so_that_no_target_needs_to_ask() -> None:
    offered = dict(unmade().offers())
    assert set(offered) == {name for name, key in KEYS.items() if key.attribute}


def test_a_discovery_session_offers_only_what_has_a_meaning_there() -> None:
    assert set(dict(unmade(discovery=True).offers())) == {
        "HeaderDigest",
        "DataDigest",
        "MaxRecvDataSegmentLength",
        "DefaultTime2Wait",
        "DefaultTime2Retain",
        "ErrorRecoveryLevel",
    }


def test_first_burst_is_never_offered_longer_than_the_whole_burst() -> None:
    offered = dict(unmade(Offer(first_burst_length=262144, max_burst_length=65536)).offers())
    assert offered["FirstBurstLength"] == "65536"


def test_first_burst_is_not_offered_where_there_is_no_unsolicited_data() -> None:
    offered = dict(unmade(Offer(initial_r2t=True, immediate_data=False)).offers())
    assert "FirstBurstLength" not in offered


def test_digests_are_offered_in_the_order_of_preference() -> None:
    offered = dict(unmade(Offer(header_digest=(Digest.CRC32C, Digest.NONE))).offers())
    assert (offered["HeaderDigest"], offered["DataDigest"]) == ("CRC32C,None", "None")


def test_private_keys_are_offered_as_they_are_and_their_answers_noted_only() -> None:
    made = negotiation(Offer(extra=(("X-com.example.key", "7"),)))
    assert made.receive((("X-com.example.key", "9"),)) == ()
    other = negotiation(Offer(extra=(("X-com.example.key", "7"),)))
    assert other.receive((("X-com.example.key", "NotUnderstood"),)) == ()
    assert made.agreed() == other.agreed()


# --- answers to our offers ----------------------------------------------------------------------


@pytest.mark.parametrize("key", NUMERICAL, ids=lambda key: key.name)
@pytest.mark.parametrize("text", NUMBERS_IN_DISGUISE, ids=ascii)
def test_an_answer_that_is_no_number_in_range_is_refused(key: Key, text: str) -> None:
    with pytest.raises(NegotiationError) as raised:
        negotiation(WIDE).receive(((key.name, text),))
    assert (raised.value.key, raised.value.answered) == (key.name, text)
    assert key.name in str(raised.value)


@pytest.mark.parametrize("key", NUMERICAL, ids=lambda key: key.name)
def test_the_bounds_of_an_answer_are_the_range_and_our_offer(key: Key) -> None:
    offered = int(dict(unmade(WIDE).offers())[key.name])
    default = int(key.default)
    for number in {key.low - 1, key.low, default, offered, key.high, key.high + 1}:
        is_beyond = number < offered if key.rule is Rule.MAXIMUM else number > offered
        made = negotiation(WIDE)
        if is_beyond or not key.low <= number <= key.high:
            with pytest.raises(NegotiationError):
                made.receive(((key.name, str(number)),))
        else:
            made.receive(((key.name, str(number)),))
            if key.name == "FirstBurstLength":
                made.receive((("MaxBurstLength", str(key.high)),))
            assert getattr(made.agreed(), key.attribute) == number


@pytest.mark.parametrize("text", ["0x200", "0X200", "512"])
def test_a_number_may_be_hexadecimal(text: str) -> None:
    made = negotiation()
    made.receive((("MaxBurstLength", text),))
    assert made.agreed().max_burst_length == 512


@pytest.mark.parametrize(
    ("offer", "key", "answer"),
    [
        (Offer(initial_r2t=True), "InitialR2T", "No"),
        (Offer(immediate_data=False), "ImmediateData", "Yes"),
        (Offer(), "DataPDUInOrder", "No"),
        (Offer(), "DataSequenceInOrder", "No"),
        (Offer(), "InitialR2T", "yes"),
        (Offer(), "ImmediateData", "true"),
        (Offer(), "HeaderDigest", "CRC32C"),
        (Offer(header_digest=(Digest.CRC32C,)), "HeaderDigest", "None"),
        (Offer(data_digest=(Digest.CRC32C, Digest.NONE)), "DataDigest", "CRC32C,None"),
        (Offer(default_time2wait=5), "DefaultTime2Wait", "4"),
        (Offer(default_time2retain=5), "DefaultTime2Retain", "6"),
        (Offer(), "ErrorRecoveryLevel", "1"),
        (Offer(), "MaxConnections", "2"),
        (Offer(), "MaxConnections", "0"),
    ],
)
def test_an_answer_our_offer_does_not_allow_is_refused(offer: Offer, key: str, answer: str) -> None:
    with pytest.raises(NegotiationError) as raised:
        negotiation(offer).receive(((key, answer),))
    offered = dict(unmade(offer).offers())[key]
    assert (raised.value.key, raised.value.offered) == (key, offered)
    assert repr(offered) in str(raised.value) and repr(answer) in str(raised.value)


def test_time_to_wait_is_the_larger_of_the_two() -> None:
    made = negotiation(Offer(default_time2wait=0))
    made.receive((("DefaultTime2Wait", "30"),))
    assert made.agreed().default_time2wait == 30


def test_what_is_agreed_comes_from_the_answers() -> None:
    made = negotiation(Offer(header_digest=(Digest.CRC32C, Digest.NONE)))
    owed = made.receive(
        (
            ("HeaderDigest", "CRC32C"),
            ("DataDigest", "None"),
            ("InitialR2T", "No"),
            ("ImmediateData", "No"),
            ("MaxRecvDataSegmentLength", "65536"),
            ("MaxBurstLength", "131072"),
            ("FirstBurstLength", "65536"),
            ("DefaultTime2Wait", "2"),
            ("DefaultTime2Retain", "0"),
        )
    )
    assert owed == ()
    assert made.agreed() == AgreedParameters(
        header_digest=Digest.CRC32C,
        initial_r2t=False,
        immediate_data=False,
        max_recv_data_segment_length=262144,
        target_max_recv_data_segment_length=65536,
        max_burst_length=131072,
        first_burst_length=65536,
        default_time2wait=2,
        default_time2retain=0,
    )


def test_first_burst_never_exceeds_the_whole_burst_in_the_end() -> None:
    made = negotiation()
    made.receive((("MaxBurstLength", "32768"), ("FirstBurstLength", "65536")))
    assert made.agreed().first_burst_length == 32768
    made = negotiation()
    made.receive((("MaxBurstLength", "1024"), ("FirstBurstLength", "Irrelevant")))
    assert made.agreed().first_burst_length == 1024


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (name, answer)
        for name, key in KEYS.items()
        for answer in ("Reject", "NotUnderstood", "Irrelevant")
        if key.attribute and (key.rule is not Rule.LIST or answer != "Reject")
    ],
)
def test_a_key_the_target_does_not_settle_keeps_its_default(name: str, answer: str) -> None:
    made = negotiation(Offer(initial_r2t=False, max_burst_length=524288))
    key = KEYS[name]
    made.receive(((name, answer),))
    agreed = getattr(made.agreed(), key.attribute)
    assert agreed == (Digest.NONE if key.rule is Rule.LIST else key.default)


@pytest.mark.parametrize("answer", ["Reject", "NotUnderstood", "Irrelevant"])
def test_a_required_digest_the_target_does_not_take_ends_the_login(answer: str) -> None:
    with pytest.raises(NegotiationError, match="HeaderDigest"):
        negotiation(Offer(header_digest=(Digest.CRC32C,))).receive((("HeaderDigest", answer),))


@pytest.mark.parametrize("offer", [(Digest.NONE,), (Digest.NONE, Digest.CRC32C)])
def test_a_digest_the_target_rejects_ends_the_login(offer: tuple[Digest, ...]) -> None:
    """istgt ends the login with success and then reads nothing more."""
    with pytest.raises(NegotiationError, match="HeaderDigest in iscsi.conf"):
        negotiation(Offer(header_digest=offer)).receive((("HeaderDigest", "Reject"),))


def test_a_digest_only_the_target_wants_ends_the_login() -> None:
    with pytest.raises(NegotiationError, match="none that both sides allow"):
        unmade().receive((("DataDigest", "CRC32C"),))


def test_a_required_digest_left_without_an_answer_ends_the_login() -> None:
    with pytest.raises(NegotiationError, match="DataDigest"):
        negotiation(Offer(data_digest=(Digest.CRC32C,))).agreed()


def test_without_any_answer_the_standards_defaults_hold() -> None:
    expected = AgreedParameters(max_recv_data_segment_length=262144)
    assert negotiation().agreed() == expected


@pytest.mark.parametrize("immediate_data", [True, False])
@pytest.mark.parametrize("initial_r2t", [True, False])
def test_an_offer_that_is_the_result_by_itself_holds_without_an_answer(
    initial_r2t: bool, immediate_data: bool
) -> None:
    """LIO does not answer ImmediateData=No, and takes no immediate data from then on."""
    made = negotiation(Offer(initial_r2t=initial_r2t, immediate_data=immediate_data))
    agreed = made.agreed()
    # InitialR2T=No is no result by itself, so the default holds.
    assert (agreed.initial_r2t, agreed.immediate_data) == (True, immediate_data)


def test_an_offer_that_was_refused_is_no_result() -> None:
    made = negotiation(Offer(immediate_data=False))
    made.receive((("ImmediateData", "Reject"),))
    assert made.agreed().immediate_data is True


# --- declarations -------------------------------------------------------------------------------


def test_declarations_of_the_target_are_noted_and_not_answered() -> None:
    made = negotiation()
    answers = (
        ("TargetAlias", "a disk"),
        ("TargetPortalGroupTag", "0"),
        ("TargetAddress", "10.0.0.1:3260,1"),
        ("TargetAddress", "10.0.0.2:3260,1"),
        ("MaxRecvDataSegmentLength", "16777215"),
        ("X#NodeArchitecture", "ExampleOS/v1234,CPU_Arch/i686"),
    )
    assert made.receive(answers) == ()
    assert (made.target_alias, made.target_portal_group_tag) == ("a disk", 0)
    assert made.agreed().target_max_recv_data_segment_length == 16777215


def test_an_alias_with_control_characters_is_made_printable() -> None:
    made = negotiation()
    made.receive((("TargetAlias", "\x1b[31mred\n"),))
    assert made.target_alias == "\\x1b[31mred\\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TargetPortalGroupTag", "65536"),
        ("TargetPortalGroupTag", "-1"),
        ("TargetPortalGroupTag", ""),
        ("MaxRecvDataSegmentLength", "511"),
        ("MaxRecvDataSegmentLength", "16777216"),
        ("MaxRecvDataSegmentLength", "0"),
        ("MaxRecvDataSegmentLength", "8k"),
        ("InitiatorName", "iqn.2024-01.org.example:other"),
        ("TargetName", "iqn.2024-01.org.example:other"),
        ("SessionType", "Discovery"),
        ("SendTargets", "All"),
        ("InitiatorName", "Reject"),
        ("TargetName", "Reject"),
        ("InitiatorAlias", "mine"),
        ("InitiatorAlias", "NotUnderstood"),
    ],
)
def test_a_declaration_that_may_not_be_made_is_refused(name: str, text: str) -> None:
    with pytest.raises(NegotiationError, match=name):
        negotiation().receive(((name, text),))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("InitiatorName", INITIATOR),
        ("TargetName", TARGET),
        ("SessionType", "NotUnderstood"),
        ("MaxRecvDataSegmentLength", "NotUnderstood"),
        ("MaxRecvDataSegmentLength", "Irrelevant"),
    ],
)
def test_an_echo_or_a_remark_on_our_declarations_is_harmless(name: str, text: str) -> None:
    assert negotiation().receive(((name, text),)) == ()


@pytest.mark.parametrize("name", ["MaxBurstLength", "TargetAlias", "X-com.example.key"])
def test_a_key_that_comes_twice_is_refused(name: str) -> None:
    made = negotiation()
    made.receive(((name, "8192"),))
    with pytest.raises(NegotiationError, match="second time"):
        made.receive(((name, "8192"),))
