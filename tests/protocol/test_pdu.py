"""The ten PDUs against octets written by hand, recorded from targets, and made up."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import MalformedPdu
from iscsid.protocol.codes import Opcode, RejectReason, Stage
from iscsid.protocol.pdu import (
    BHS_LENGTH,
    KNOWN_PDUS,
    LAYOUTS,
    KnownPdu,
    LoginResponse,
    NopIn,
    Pdu,
    RawPdu,
    Reject,
    TextRequest,
    TextResponse,
    data_segment_length,
    decode,
)
from tests.support import capture
from tests.support.pdus import EXAMPLES, pdus

IDENTIFIERS = [f"{type(pdu).__name__}-{number}" for number, (pdu, _) in enumerate(EXAMPLES)]


def decode_all(octets: bytes) -> Pdu:
    """Decode one PDU, header, data and padding."""
    length = data_segment_length(octets)
    return decode(octets[:BHS_LENGTH], octets[BHS_LENGTH : BHS_LENGTH + length])


@pytest.mark.parametrize("pdu, octets", EXAMPLES, ids=IDENTIFIERS)
def test_a_pdu_encodes_to_the_octets_of_the_standard(pdu: KnownPdu, octets: str) -> None:
    assert pdu.encode().hex(" ") == bytes.fromhex(octets).hex(" ")


@pytest.mark.parametrize("pdu, octets", EXAMPLES, ids=IDENTIFIERS)
def test_the_octets_of_the_standard_decode_to_the_pdu(pdu: KnownPdu, octets: str) -> None:
    assert decode_all(bytes.fromhex(octets)) == pdu


def test_every_kind_of_pdu_has_an_example() -> None:
    assert {type(pdu) for pdu, _ in EXAMPLES} == set(KNOWN_PDUS.values())


@pytest.mark.parametrize("kind", KNOWN_PDUS.values())
def test_every_field_has_a_place_and_no_place_is_taken_twice(kind: type[KnownPdu]) -> None:
    assert {name for name, _ in LAYOUTS[kind]} == {field.name for field in fields(kind)} - {"data"}
    header = bytearray(BHS_LENGTH)
    header[0], header[1] = kind.opcode, kind.always
    for _, place in LAYOUTS[kind]:
        filled = bytearray(BHS_LENGTH)
        match getattr(place, "width", None):
            case None:
                filled[place.offset : place.offset + place.size] = b"\xff" * place.size  # type: ignore[union-attr]
            case width:
                filled[place.offset] = (1 << width) - 1 << place.shift  # type: ignore[union-attr]
        assert not any(one & other for one, other in zip(header, filled, strict=True)), place
        header = bytearray(one | other for one, other in zip(header, filled, strict=True))
    assert header[4:8] == bytes(4)


@given(pdus())
def test_decoding_undoes_encoding(pdu: Pdu) -> None:
    octets = pdu.encode()
    assert len(octets) % 4 == 0
    assert decode_all(octets) == pdu
    assert decode_all(octets).encode() == octets


@given(st.binary(min_size=BHS_LENGTH, max_size=BHS_LENGTH), st.binary(max_size=40))
def test_any_header_decodes_to_something_that_encodes_alike(header: bytes, data: bytes) -> None:
    header = header[:5] + len(data).to_bytes(3, "big") + header[8:]
    pdu = decode(header, data)
    assert pdu.opcode == header[0] & 0x3F
    assert str(pdu.opcode)
    if isinstance(pdu, KnownPdu):
        assert decode_all(pdu.encode()) == pdu
    else:
        assert pdu.encode()[: BHS_LENGTH + len(data)] == header + data


@pytest.mark.parametrize("name", capture.names())
def test_a_recorded_session_encodes_to_what_went_over_the_wire(name: str) -> None:
    for recorded in capture.read(name):
        pdu = decode_all(recorded.octets)
        assert pdu.encode() == recorded.octets
        assert (pdu.opcode >= Opcode.NOP_IN) is not recorded.is_sent


def test_tgtd_login_responses_are_decoded() -> None:
    not_found, moved, success = map(decode_all, capture.received("tgtd-logins"))
    assert isinstance(not_found, LoginResponse)
    assert (not_found.status_class, not_found.status_detail) == (2, 3)
    assert not_found.status == 0x0203
    assert not_found.transit is False
    assert isinstance(moved, LoginResponse)
    assert moved.status == 0x0101
    assert moved.data == b"TargetAddress=127.0.0.2:13260\0"
    assert success == LoginResponse(
        transit=True,
        current_stage=Stage.OPERATIONAL_NEGOTIATION,
        next_stage=Stage.FULL_FEATURE_PHASE,
        isid=success.isid,  # type: ignore[attr-defined]
        tsih=0x0200,
        initiator_task_tag=0x10,
        stat_sn=0,
        exp_cmd_sn=1,
        max_cmd_sn=2,
        data=b"TargetPortalGroupTag=1\0",
    )


def test_lio_text_responses_are_decoded() -> None:
    first, second, last = map(decode_all, capture.received("lio-discovery")[1:4])
    assert isinstance(first, TextResponse) and isinstance(second, TextResponse)
    assert isinstance(last, TextResponse)
    assert [(each.final, each.continue_) for each in (first, second, last)] == [
        (False, True),
        (False, True),
        (True, False),
    ]
    assert [each.target_transfer_tag for each in (first, second, last)] == [0, 0, 0]
    assert second.stat_sn == first.stat_sn + 1 == last.stat_sn - 1


def test_istgt_pings_and_rejects_are_decoded() -> None:
    ping = decode_all(capture.received("istgt-discovery")[2])
    assert ping == NopIn(target_transfer_tag=0xFFFFFFFF, stat_sn=2, exp_cmd_sn=2, max_cmd_sn=9)
    reject = decode_all(capture.received("istgt-reject")[2])
    assert isinstance(reject, Reject)
    assert reject.reason is RejectReason.PROTOCOL_ERROR
    assert Opcode(reject.data[0] & 0x3F) is Opcode.SNACK_REQUEST


@pytest.mark.parametrize("length", [0, 1, 47, 49, 96])
def test_a_header_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedPdu, match="48 octets"):
        decode(bytes(length), b"")


@pytest.mark.parametrize("data", [b"", b"a", b"abc", b"abcde", b"ab\0\0"])
def test_data_of_another_length_than_announced_is_refused(data: bytes) -> None:
    header = bytearray(BHS_LENGTH)
    header[7] = 2
    with pytest.raises(MalformedPdu, match="announces 2 octets"):
        decode(bytes(header), data)


def test_a_pdu_that_is_not_ours_keeps_header_and_data() -> None:
    header = bytes.fromhex("2180000000000003") + bytes(range(40))
    pdu = decode(header, b"abc")
    assert pdu == RawPdu(header=header, data=b"abc")
    assert pdu.opcode is Opcode.SCSI_RESPONSE
    assert pdu.encode() == header + b"abc\0"


def test_additional_header_segments_and_reserved_bits_are_ignored() -> None:
    pdu, octets = EXAMPLES[2]
    header = bytearray(bytes.fromhex(octets))
    header[0] |= 0xC0
    header[1] |= 0x30
    header[4] = 7
    header[38:48] = b"\xff" * 10
    assert decode(bytes(header), b"") == pdu


def test_the_repr_of_a_pdu_does_not_show_its_data() -> None:
    request = TextRequest(
        final=True, initiator_task_tag=1, cmd_sn=2, exp_stat_sn=3, data=b"CHAP_R=0x1234\0"
    )
    assert "CHAP_R" not in repr(request)


def test_more_data_than_a_pdu_can_hold_is_refused() -> None:
    request = TextRequest(
        final=True, initiator_task_tag=1, cmd_sn=2, exp_stat_sn=3, data=bytes(1 << 24)
    )
    with pytest.raises(ValueError, match="do not fit"):
        request.encode()


@pytest.mark.parametrize("task_tag", [-1, 1 << 32])
def test_a_number_that_does_not_fit_is_refused(task_tag: int) -> None:
    request = TextRequest(final=True, initiator_task_tag=task_tag, cmd_sn=2, exp_stat_sn=3)
    with pytest.raises(OverflowError):
        request.encode()
