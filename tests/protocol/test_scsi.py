"""The SCSI that iscsid uses: its PDUs octet by octet, and answers of real targets."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.protocol.codes import RESERVED_TAG, Opcode
from iscsid.protocol.pdu import KnownPdu, NopOut, RawPdu, decode, layout
from iscsid.protocol.scsi import (
    SCSI_PDUS,
    ScsiCommand,
    ScsiDataIn,
    ScsiResponse,
    ScsiStatus,
    Sense,
    SenseKey,
    encode_lun,
    inquiry,
    is_unit_there,
    parse_sense,
    read_sense,
    scsi_pdu,
    standard_inquiry,
)
from tests.support.lun_fixtures import ISTGT_ANSWER, TGTD_ANSWER

LUN = bytes.fromhex("4101000000000000")

EXAMPLES: list[tuple[KnownPdu, str]] = [
    (
        ScsiCommand(
            immediate=False,
            read=True,
            lun=LUN,
            initiator_task_tag=0x11223344,
            expected_data_transfer_length=0x55667788,
            cmd_sn=0x99AABBCC,
            exp_stat_sn=0xDDEEFF01,
            cdb=inquiry(0x83, 0x1234),
        ),
        """01 c1 00 00 00 00 00 00  41 01 00 00 00 00 00 00
           11 22 33 44 55 66 77 88  99 aa bb cc dd ee ff 01
           12 01 83 12 34 00 00 00  00 00 00 00 00 00 00 00""",
    ),
    (
        ScsiResponse(
            response=0x01,
            status=ScsiStatus.CHECK_CONDITION,
            initiator_task_tag=0x11223344,
            stat_sn=0x99AABBCC,
            exp_cmd_sn=0xDDEEFF01,
            max_cmd_sn=0x02030405,
            residual_count=0x0A0B0C0D,
        ),
        """21 80 01 02 00 00 00 00  00 00 00 00 00 00 00 00
           11 22 33 44 00 00 00 00  99 aa bb cc dd ee ff 01
           02 03 04 05 00 00 00 00  00 00 00 00 0a 0b 0c 0d""",
    ),
    (
        ScsiDataIn(
            has_status=True,
            status=ScsiStatus.BUSY,
            lun=LUN,
            initiator_task_tag=0x11223344,
            target_transfer_tag=RESERVED_TAG,
            stat_sn=0x99AABBCC,
            exp_cmd_sn=0xDDEEFF01,
            max_cmd_sn=0x02030405,
            data_sn=0x01010101,
            buffer_offset=0x02020202,
            residual_count=0x03030303,
            data=b"abcde",
        ),
        """25 81 00 08 00 00 00 05  41 01 00 00 00 00 00 00
           11 22 33 44 ff ff ff ff  99 aa bb cc dd ee ff 01
           02 03 04 05 01 01 01 01  02 02 02 02 03 03 03 03
           61 62 63 64 65 00 00 00""",
    ),
]

each_example = pytest.mark.parametrize(
    ("pdu", "octets"), EXAMPLES, ids=[type(pdu).__name__ for pdu, _ in EXAMPLES]
)


@each_example
def test_every_field_has_its_place_both_ways(pdu: KnownPdu, octets: str) -> None:
    expected = bytes.fromhex(octets)
    assert pdu.encode() == expected
    assert scsi_pdu(decode(expected[:48], expected[48 : 48 + len(pdu.data)])) == pdu


@pytest.mark.parametrize("kind", SCSI_PDUS.values())
def test_every_field_has_exactly_one_place(kind: type[KnownPdu]) -> None:
    assert {name for name, _ in layout(kind)} == {field.name for field in fields(kind)} - {"data"}


def test_what_is_no_scsi_is_left_as_it_is() -> None:
    ping = NopOut(initiator_task_tag=1, cmd_sn=2, exp_stat_sn=3)
    other = RawPdu(header=bytes([Opcode.READY_TO_TRANSFER]) + bytes(47))
    assert scsi_pdu(ping) is ping and scsi_pdu(other) is other


@pytest.mark.parametrize("answer", [TGTD_ANSWER, ISTGT_ANSWER], ids=["tgtd", "istgt"])
def test_an_answer_of_a_real_target_is_understood(answer: bytes) -> None:
    pdu = scsi_pdu(decode(answer[:48], answer[48 : 48 + answer[7]]))
    assert isinstance(pdu, ScsiDataIn)
    assert pdu.final and pdu.has_status and pdu.status is ScsiStatus.GOOD
    assert (pdu.initiator_task_tag, pdu.stat_sn, pdu.exp_cmd_sn) == (0x100, 2, 1000)
    assert pdu.residual_count == 1024 - len(pdu.data)


# --- LUNs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "octets"),
    [
        (0, "0000000000000000"),
        (5, "0005000000000000"),
        (255, "00ff000000000000"),
        (16640, "4100000000000000"),
        (49409, "c101000000000000"),
        (0x0003_0005, "0005000300000000"),
    ],
    ids=["0", "5", "255", "256, flat", "REPORT LUNS", "two levels"],
)
def test_a_lun_is_written_as_the_kernel_means_it(number: int, octets: str) -> None:
    assert encode_lun(number).hex() == octets


@given(st.binary(min_size=8, max_size=8))
def test_a_lun_is_what_the_kernel_made_the_number_of(octets: bytes) -> None:
    """The kernel's scsilun_to_int: each pair of octets, the first of them lowest."""
    number = sum(int.from_bytes(octets[at : at + 2], "big") << 8 * at for at in (0, 2, 4, 6))
    assert encode_lun(number) == octets


# --- sense data ---------------------------------------------------------------------------------

NO_SUCH_LUN = Sense(SenseKey.ILLEGAL_REQUEST, 0x25, 0x00)
UNIT_ATTENTION = Sense(SenseKey.UNIT_ATTENTION, 0x29, 0x01)


@pytest.mark.parametrize(
    ("data", "sense"),
    [
        ("0012 70 00 05 00000000 0a 00000000 25 00 00 000000", NO_SUCH_LUN),
        ("0012 f0 00 06 00000000 0a 00000000 29 01 00 000000", UNIT_ATTENTION),
        ("0008 72 06 29 01 00 00 00 00", UNIT_ATTENTION),
        ("0008 73 05 25 00 00 00 00 00", NO_SUCH_LUN),
        ("0003 70 00 02", Sense(SenseKey.NOT_READY, 0, 0)),
        ("0000", None),
        ("", None),
        ("0008 00 06 29 01 00 00 00 00", None),
    ],
)
def test_sense_data_is_read_in_both_formats(data: str, sense: Sense | None) -> None:
    assert parse_sense(bytes.fromhex(data)) == sense


@given(st.binary(max_size=300))
def test_no_sense_data_breaks_the_reader(data: bytes) -> None:
    assert str(parse_sense(data))


# --- whether there is a logical unit ------------------------------------------------------------

NOT_SUPPORTED = bytes.fromhex("70 00 05 00 00 00 00 0a 00 00 00 00 25 00 00 00 00 00")
"""LIO's answer to any command for a LUN that it does not have."""
BUSY_SENSE = bytes.fromhex("70 00 02 00 00 00 00 0a 00 00 00 00 04 01 00 00 00 00")


@pytest.mark.parametrize(
    ("status", "first_octet", "sense", "is_there"),
    [
        (0x00, "00", b"", True),
        (0x00, "05", b"", True),
        (0x00, "0c", b"", True),
        (0x00, "20", b"", True),
        (0x00, "7f", b"", False),
        (0x00, "60", b"", False),
        (0x00, "3f", b"", False),
        (0x00, "", b"", None),
        (0x02, "", NOT_SUPPORTED, False),
        (0x02, "00", NOT_SUPPORTED, False),
        (0x02, "", BUSY_SENSE, None),
        (0x02, "", b"", None),
        (0x08, "", b"", None),
        (0x18, "00", b"", None),
    ],
)
def test_only_a_clear_status_means_that_there_is_no_unit(
    status: int, first_octet: str, sense: bytes, is_there: bool | None
) -> None:
    assert is_unit_there(status, bytes.fromhex(first_octet), sense) is is_there


@given(status=st.integers(0, 255), data=st.binary(max_size=40), sense=st.binary(max_size=64))
def test_any_answer_is_understood_or_not(status: int, data: bytes, sense: bytes) -> None:
    found = is_unit_there(status, data, sense)
    assert found is not False or status in (0x00, 0x02)


def test_sense_is_the_same_with_the_length_that_iscsi_puts_before_it() -> None:
    with_length = len(NOT_SUPPORTED).to_bytes(2, "big") + NOT_SUPPORTED
    assert parse_sense(with_length) == read_sense(NOT_SUPPORTED)


def test_standard_inquiry_is_a_command_of_six_octets() -> None:
    assert standard_inquiry(36) == bytes.fromhex("12 00 00 00 24 00")
