"""The key table against the standard, row by row, and the algebra of two offers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import ProtocolError
from iscsid.protocol.keys import KEYS, REJECT, Irrelevant, Key, Rule, Sender, Use, Value
from iscsid.protocol.parameters import AgreedParameters, Offer

SECTIONS = {
    "HeaderDigest": "13.1",
    "DataDigest": "13.1",
    "MaxConnections": "13.2",
    "SendTargets": "13.3",
    "TargetName": "13.4",
    "InitiatorName": "13.5",
    "TargetAlias": "13.6",
    "InitiatorAlias": "13.7",
    "TargetAddress": "13.8",
    "TargetPortalGroupTag": "13.9",
    "InitialR2T": "13.10",
    "ImmediateData": "13.11",
    "MaxRecvDataSegmentLength": "13.12",
    "MaxBurstLength": "13.13",
    "FirstBurstLength": "13.14",
    "DefaultTime2Wait": "13.15",
    "DefaultTime2Retain": "13.16",
    "MaxOutstandingR2T": "13.17",
    "DataPDUInOrder": "13.18",
    "DataSequenceInOrder": "13.19",
    "ErrorRecoveryLevel": "13.20",
    "SessionType": "13.21",
    "TaskReporting": "13.23",
    "iSCSIProtocolLevel": "13.24",
    "IFMarker": "13.25",
    "OFMarker": "13.25",
    "IFMarkInt": "13.25",
    "OFMarkInt": "13.25",
    "X#NodeArchitecture": "13.26",
}

NUMBERS = {
    "MaxConnections": (Rule.MINIMUM, 1, 65535, 1),
    "MaxBurstLength": (Rule.MINIMUM, 512, 16777215, 262144),
    "FirstBurstLength": (Rule.MINIMUM, 512, 16777215, 65536),
    "DefaultTime2Wait": (Rule.MAXIMUM, 0, 3600, 2),
    "DefaultTime2Retain": (Rule.MINIMUM, 0, 3600, 20),
    "MaxOutstandingR2T": (Rule.MINIMUM, 1, 65535, 1),
    "ErrorRecoveryLevel": (Rule.MINIMUM, 0, 2, 0),
    "MaxRecvDataSegmentLength": (Rule.DECLARED_NUMBER, 512, 16777215, 8192),
    "iSCSIProtocolLevel": (Rule.MINIMUM, 0, 31, 1),
}

BOOLEANS = {
    "InitialR2T": (Rule.OR, True),
    "ImmediateData": (Rule.AND, True),
    "DataPDUInOrder": (Rule.OR, True),
    "DataSequenceInOrder": (Rule.OR, True),
}

IRRELEVANT_IN_DISCOVERY = {
    "MaxConnections",
    "InitialR2T",
    "ImmediateData",
    "MaxBurstLength",
    "FirstBurstLength",
    "MaxOutstandingR2T",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "TaskReporting",
    "iSCSIProtocolLevel",
}


def test_every_key_has_its_row_and_its_section() -> None:
    assert {name: key.section for name, key in KEYS.items()} == SECTIONS


@pytest.mark.parametrize("name", NUMBERS)
def test_a_numerical_row_agrees_with_the_standard(name: str) -> None:
    key = KEYS[name]
    assert (key.rule, key.low, key.high, key.default) == NUMBERS[name]


@pytest.mark.parametrize("name", BOOLEANS)
def test_a_boolean_row_agrees_with_the_standard(name: str) -> None:
    assert (KEYS[name].rule, KEYS[name].default) == BOOLEANS[name]


def test_the_keys_without_meaning_in_a_discovery_session_are_the_standards() -> None:
    irrelevant = {name for name, key in KEYS.items() if key.irrelevant is not Irrelevant.NEVER}
    assert irrelevant == IRRELEVANT_IN_DISCOVERY
    assert KEYS["FirstBurstLength"].irrelevant is Irrelevant.WITHOUT_UNSOLICITED_DATA


def test_every_result_has_a_place_among_the_agreed_parameters() -> None:
    attributes = {key.attribute for key in KEYS.values() if key.attribute}
    ours = {"max_recv_data_segment_length"}
    assert attributes == set(AgreedParameters.__dataclass_fields__) - ours


def test_every_value_we_can_offer_belongs_to_a_row() -> None:
    fields = set(Offer.__dataclass_fields__) - {"extra"}
    assert fields <= {key.ours for key in KEYS.values()}


def test_only_keys_of_a_target_are_a_targets_to_send() -> None:
    senders = {name: key.sender for name, key in KEYS.items() if key.sender is not Sender.BOTH}
    assert senders == {
        "SendTargets": Sender.INITIATOR,
        "TargetName": Sender.INITIATOR,
        "InitiatorName": Sender.INITIATOR,
        "InitiatorAlias": Sender.INITIATOR,
        "SessionType": Sender.INITIATOR,
        "TargetAlias": Sender.TARGET,
        "TargetAddress": Sender.TARGET,
        "TargetPortalGroupTag": Sender.TARGET,
    }
    assert KEYS["SendTargets"].use is Use.FULL_FEATURE_PHASE_ONLY


NEGOTIATED = [KEYS[name] for name in (*NUMBERS, *BOOLEANS) if name != "MaxRecvDataSegmentLength"]


def values_of(key: Key) -> st.SearchStrategy[Value]:
    return st.booleans() if key.name in BOOLEANS else st.integers(key.low, key.high)


@given(st.data())
def test_two_offers_make_one_result_in_either_order(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(NEGOTIATED))
    ours, theirs = data.draw(values_of(key)), data.draw(values_of(key))
    result = key.combine(ours, theirs)
    assert result == key.combine(theirs, ours)
    assert result in (ours, theirs)


@given(st.data())
def test_negotiating_a_result_again_changes_nothing(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(NEGOTIATED))
    ours, theirs = data.draw(values_of(key)), data.draw(values_of(key))
    result = key.combine(ours, theirs)
    assert key.combine(ours, result) == result == key.combine(result, result)


@given(st.data())
def test_a_result_is_never_beyond_both_offers(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([each for each in NEGOTIATED if each.name in NUMBERS]))
    ours = data.draw(st.integers(key.low, key.high))
    theirs = data.draw(st.integers(key.low, key.high))
    expected = max(ours, theirs) if key.name == "DefaultTime2Wait" else min(ours, theirs)
    assert key.combine(ours, theirs) == expected
    assert key.low <= expected <= key.high


@pytest.mark.parametrize(("ours", "theirs"), [*itertools.product([True, False], repeat=2)])
def test_booleans_combine_by_or_and_by_and(ours: bool, theirs: bool) -> None:
    assert KEYS["InitialR2T"].combine(ours, theirs) is (ours or theirs)
    assert KEYS["DataPDUInOrder"].combine(ours, theirs) is (ours or theirs)
    assert KEYS["DataSequenceInOrder"].combine(ours, theirs) is (ours or theirs)
    assert KEYS["ImmediateData"].combine(ours, theirs) is (ours and theirs)


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        ("CRC32C,None", ("None", "CRC32C"), "CRC32C"),
        ("None,CRC32C", ("CRC32C", "None"), "None"),
        ("CRC32C,None", ("None",), "None"),
        ("CRC32C", ("None",), REJECT),
        ("Y-private,CRC32C", ("CRC32C", "None"), "CRC32C"),
        ("crc32c", ("CRC32C", "None"), REJECT),
        ("", ("CRC32C", "None"), REJECT),
        (",None", ("None",), "None"),
    ],
)
def test_the_offerers_order_decides_a_list(
    offered: str, supported: tuple[str, ...], chosen: str
) -> None:
    assert KEYS["HeaderDigest"].choose(offered, supported) == chosen


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("InitialR2T", "yes"),
        ("InitialR2T", "1"),
        ("ImmediateData", ""),
        ("ImmediateData", "Yes "),
        ("HeaderDigest", "crc32c"),
        ("DataDigest", "None,CRC32C"),
    ],
)
def test_a_value_in_other_spelling_is_no_value(name: str, text: str) -> None:
    with pytest.raises(ProtocolError):
        KEYS[name].parse(text)


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_every_row_describes_its_values(key: Key) -> None:
    assert key.wanted.isprintable()
