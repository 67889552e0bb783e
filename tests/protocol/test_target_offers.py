"""What a target offers of its own accord gets the answer it is owed, and no more than that."""

from __future__ import annotations

import pytest

from iscsid.errors import NegotiationError, ProtocolError
from iscsid.protocol.keys import KEYS, Rule
from iscsid.protocol.negotiation import MAX_UNKNOWN_KEYS, OperationalNegotiation
from iscsid.protocol.parameters import Offer
from tests.target.pairing import make_plan


def negotiation(offer: Offer | None = None, *, discovery: bool = False) -> OperationalNegotiation:
    """Return a negotiation in which the target may bring up everything itself."""
    return OperationalNegotiation(make_plan(offer=offer, discovery=discovery))


@pytest.mark.parametrize(
    ("name", "offered", "answered"),
    [
        ("HeaderDigest", "CRC32C,None", "None"),
        ("MaxConnections", "8", "1"),
        ("InitialR2T", "Yes", "Yes"),
        ("InitialR2T", "No", "No"),
        ("ImmediateData", "Yes", "Yes"),
        ("ImmediateData", "No", "No"),
        ("MaxBurstLength", "262144", "262144"),
        ("MaxBurstLength", "16777215", "16776192"),
        ("FirstBurstLength", "1048576", "262144"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Retain", "20", "0"),
        ("MaxOutstandingR2T", "16", "1"),
        ("DataPDUInOrder", "No", "Yes"),
        ("DataSequenceInOrder", "No", "Yes"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("TaskReporting", "FastAbort,ResponseFence,RFC3720", "RFC3720"),
        ("TaskReporting", "FastAbort", "Reject"),
        ("iSCSIProtocolLevel", "2", "1"),
        ("iSCSIProtocolLevel", "0", "0"),
        ("IFMarker", "Yes", "No"),
        ("OFMarker", "No", "No"),
        ("IFMarkInt", "2048~65535", "Reject"),
        ("OFMarkInt", "8192", "Reject"),
        ("MaxConnections", "0", "Reject"),
        ("MaxConnections", "many", "Reject"),
        ("InitialR2T", "maybe", "Reject"),
        ("RDMAExtensions", "Yes", "NotUnderstood"),
        ("X-com.example.Key", "anything", "NotUnderstood"),
    ],
)
def test_an_offer_of_the_target_gets_the_answer_it_is_owed(
    name: str, offered: str, answered: str
) -> None:
    assert negotiation().receive(((name, offered),)) == ((name, answered),)


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.attribute])
def test_what_the_target_offered_we_do_not_offer_again(name: str) -> None:
    made = negotiation()
    offers = {Rule.OR: "No", Rule.AND: "No", Rule.LIST: "None"}
    made.receive(((name, offers.get(KEYS[name].rule, "1024")),))
    assert name not in dict(made.offers())


def test_the_answers_to_the_targets_offers_are_agreed() -> None:
    made = negotiation()
    made.receive((("MaxBurstLength", "65536"), ("ImmediateData", "No"), ("InitialR2T", "No")))
    agreed = made.agreed()
    assert (agreed.max_burst_length, agreed.immediate_data) == (65536, False)
    assert agreed.initial_r2t is False


@pytest.mark.parametrize(
    "name", ["MaxConnections", "InitialR2T", "FirstBurstLength", "TaskReporting"]
)
def test_a_key_without_meaning_in_a_discovery_session_is_irrelevant(name: str) -> None:
    offered = ((name, "1"),)
    assert negotiation(discovery=True).receive(offered) == ((name, "Irrelevant"),)


def test_first_burst_is_irrelevant_without_unsolicited_data() -> None:
    made = negotiation(Offer(initial_r2t=True, immediate_data=False))
    answer = made.receive((("FirstBurstLength", "65536"),))
    assert answer == (("FirstBurstLength", "Irrelevant"),)


@pytest.mark.parametrize("text", ["Reject", "NotUnderstood", "Irrelevant"])
@pytest.mark.parametrize("name", ["MaxConnections", "X-com.example.key", "HeaderDigest"])
def test_an_answer_to_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(NegotiationError, match="answer to nothing"):
        negotiation().receive(((name, text),))


def test_endless_unknown_keys_are_not_answered_for_ever() -> None:
    made = negotiation()
    keys = tuple((f"X-key{number}", "1") for number in range(MAX_UNKNOWN_KEYS))
    assert len(made.receive(keys)) == MAX_UNKNOWN_KEYS
    with pytest.raises(ProtocolError, match="unknown keys"):
        made.receive((("X-one-more", "1"),))


def test_the_answers_to_unknown_keys_fit_into_one_request() -> None:
    keys = tuple((f"X-{number:061}", "v" * 255) for number in range(MAX_UNKNOWN_KEYS))
    answers = negotiation().receive(keys)
    assert sum(len(f"{name}={value}\0") for name, value in answers) <= 8192
