"""Cutting a stream into PDUs: whole, octet by octet, with junk behind, and never too far."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import MalformedPdu
from iscsid.protocol.pdu import BHS_LENGTH, MAX_DATA_SEGMENT_LENGTH, Pdu
from iscsid.protocol.pdu_reader import PduReader
from tests.support import capture
from tests.support.pdus import EXAMPLES, pdus

STREAM = [bytes.fromhex(octets) for _, octets in EXAMPLES]


def read(reader: PduReader, stream: bytes, at_most: int = 1 << 30) -> tuple[list[Pdu], bytes]:
    """Feed a stream as a driver would; return the PDUs, and what was never asked for."""
    read_pdus = []
    while stream:
        wanted = min(reader.bytes_wanted, at_most)
        reader.receive_data(stream[:wanted])
        stream = stream[wanted:]
        if pdu := reader.next_pdu():
            read_pdus.append(pdu)
    return read_pdus, stream


@pytest.mark.parametrize("pdu, octets", EXAMPLES)
def test_a_whole_pdu_is_read_in_two_steps(pdu: Pdu, octets: str) -> None:
    stream = bytes.fromhex(octets)
    reader = PduReader()
    assert reader.is_between_pdus
    assert reader.bytes_wanted == BHS_LENGTH
    reader.receive_data(stream[:BHS_LENGTH])
    assert not reader.is_between_pdus
    assert reader.bytes_wanted == len(stream) - BHS_LENGTH
    reader.receive_data(stream[BHS_LENGTH:])
    assert reader.bytes_wanted == 0
    assert reader.next_pdu() == pdu
    assert reader.is_between_pdus
    assert reader.next_pdu() is None


@pytest.mark.parametrize("pdu, octets", EXAMPLES)
def test_octet_by_octet_there_is_nothing_yet_until_the_last(pdu: Pdu, octets: str) -> None:
    stream = bytes.fromhex(octets)
    reader = PduReader()
    for number in range(len(stream)):
        assert reader.next_pdu() is None
        reader.receive_data(stream[number : number + 1])
    assert reader.next_pdu() == pdu


@pytest.mark.parametrize("octets", STREAM)
def test_junk_behind_a_pdu_is_never_asked_for(octets: bytes) -> None:
    reader = PduReader()
    stream = octets + b"\xffjunk" * 20
    while wanted := reader.bytes_wanted:
        reader.receive_data(stream[:wanted])
        stream = stream[wanted:]
    assert stream == b"\xffjunk" * 20


def test_more_than_was_wanted_is_refused() -> None:
    reader = PduReader()
    with pytest.raises(ValueError, match="49 octets were read where 48 were wanted"):
        reader.receive_data(bytes(BHS_LENGTH + 1))
    reader.receive_data(bytes(BHS_LENGTH))
    with pytest.raises(ValueError, match="1 octets were read where 0 were wanted"):
        reader.receive_data(b"\0")


@given(st.lists(pdus(), max_size=6), st.data())
def test_cutting_the_stream_anywhere_gives_the_same_pdus(
    sent: list[Pdu], data: st.DataObject
) -> None:
    stream = b"".join(pdu.encode() for pdu in sent)
    reader = PduReader()
    received = []
    while stream:
        length = data.draw(st.integers(1, reader.bytes_wanted))
        reader.receive_data(stream[:length])
        stream = stream[length:]
        if pdu := reader.next_pdu():
            received.append(pdu)
    assert received == sent
    assert reader.is_between_pdus


@pytest.mark.parametrize("at_most", [1, 3, 48, 1 << 30])
@pytest.mark.parametrize("name", capture.names())
def test_a_recorded_session_is_read_however_it_arrives(name: str, at_most: int) -> None:
    received = capture.received(name)
    pdus_read, rest = read(PduReader(1 << 20), b"".join(received), at_most)
    assert [pdu.encode() for pdu in pdus_read] == received
    assert rest == b""


@pytest.mark.parametrize("words", [0, 1, 255])
def test_additional_header_segments_are_skipped(words: int) -> None:
    pdu, octets = EXAMPLES[0]
    header = bytearray(bytes.fromhex(octets)[:BHS_LENGTH])
    header[4] = words
    stream = bytes(header) + b"\xaa" * words * 4 + bytes.fromhex(octets)[BHS_LENGTH:]
    assert read(PduReader(), stream) == ([pdu], b"")


def test_what_the_padding_holds_does_not_matter() -> None:
    pdu, octets = EXAMPLES[0]
    assert read(PduReader(), bytes.fromhex(octets)[:-2] + b"\xff\xff") == ([pdu], b"")


@pytest.mark.parametrize("length", [8193, 65536, MAX_DATA_SEGMENT_LENGTH])
def test_a_header_that_announces_too_much_is_refused_at_once(length: int) -> None:
    header = bytearray(BHS_LENGTH)
    header[0] = 0x23
    header[5:8] = length.to_bytes(3, "big")
    reader = PduReader()
    reader.receive_data(bytes(header[:-1]))
    with pytest.raises(MalformedPdu, match=rf"\(login response\) announces {length} octets"):
        reader.receive_data(bytes(header[-1:]))


def test_exactly_the_limit_is_taken() -> None:
    header = bytearray(BHS_LENGTH)
    header[5:8] = (8192).to_bytes(3, "big")
    reader = PduReader(8192)
    reader.receive_data(bytes(header))
    assert reader.bytes_wanted == 8192


def test_another_protocol_is_named_as_such() -> None:
    reader = PduReader()
    with pytest.raises(MalformedPdu) as error:
        reader.receive_data(
            b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.18.0\r\nDate"[:BHS_LENGTH]
        )
    assert "iSCSI target" in str(error.value)
    assert str(error.value).isprintable()


def test_the_limit_may_change_between_pdus() -> None:
    reader = PduReader(0)
    reader.receive_data(bytes(BHS_LENGTH))
    assert reader.next_pdu() is not None
    reader.max_data_segment_length = 4
    reader.receive_data(bytes(7) + b"\4" + bytes(BHS_LENGTH - 8))
    assert reader.bytes_wanted == 4


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20))
def test_any_octets_are_pdus_or_one_documented_error(pieces: list[bytes]) -> None:
    reader = PduReader(512)
    for piece in pieces:
        while piece:
            wanted = min(len(piece), reader.bytes_wanted)
            assert wanted
            try:
                reader.receive_data(piece[:wanted])
            except MalformedPdu:
                return
            piece = piece[wanted:]
            if pdu := reader.next_pdu():
                assert len(pdu.data) <= 512


def test_a_pdu_is_not_changed_by_what_comes_after_it() -> None:
    reader = PduReader()
    [first], _ = read(reader, STREAM[0])
    read(reader, STREAM[1])
    assert first.encode() == STREAM[0]
