"""Example PDUs with their octets written out by hand, and a strategy for all PDUs."""

from __future__ import annotations

from hypothesis import strategies as st

from iscsid.protocol.codes import (
    AsyncEvent,
    LogoutOutcome,
    LogoutReason,
    RejectReason,
    Stage,
)
from iscsid.protocol.parameters import Isid
from iscsid.protocol.pdu import (
    BHS_LENGTH,
    KNOWN_PDUS,
    LAYOUTS,
    AsyncMessage,
    Bits,
    KnownPdu,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Number,
    Octets,
    Pdu,
    Place,
    Reject,
    TextRequest,
    TextResponse,
)

ISID = Isid(bytes.fromhex("80a1b2c3d4e5"))
LUN = bytes.fromhex("0001020304050607")

EXAMPLES: list[tuple[KnownPdu, str]] = [
    (
        LoginRequest(
            transit=True,
            current_stage=Stage.OPERATIONAL_NEGOTIATION,
            next_stage=Stage.FULL_FEATURE_PHASE,
            version_max=2,
            version_min=1,
            isid=ISID,
            tsih=0x1122,
            initiator_task_tag=0x33445566,
            cid=0x7788,
            cmd_sn=0x99AABBCC,
            exp_stat_sn=0xDDEEFF01,
            data=b"Key=value\0",
        ),
        """43 87 02 01 00 00 00 0a  80 a1 b2 c3 d4 e5 11 22
           33 44 55 66 77 88 00 00  99 aa bb cc dd ee ff 01
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
           4b 65 79 3d 76 61 6c 75  65 00 00 00""",
    ),
    (
        LoginRequest(
            transit=False,
            continue_=True,
            current_stage=Stage.SECURITY_NEGOTIATION,
            isid=ISID,
            initiator_task_tag=1,
            cmd_sn=2,
            exp_stat_sn=3,
            data=b"Half",
        ),
        """43 40 00 00 00 00 00 04  80 a1 b2 c3 d4 e5 00 00
           00 00 00 01 00 00 00 00  00 00 00 02 00 00 00 03
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
           48 61 6c 66""",
    ),
    (
        LoginResponse(
            transit=True,
            current_stage=Stage.SECURITY_NEGOTIATION,
            next_stage=Stage.OPERATIONAL_NEGOTIATION,
            version_max=2,
            version_active=1,
            isid=ISID,
            tsih=0x1122,
            initiator_task_tag=0x33445566,
            stat_sn=0x778899AA,
            exp_cmd_sn=0xBBCCDDEE,
            max_cmd_sn=0xFF010203,
            status_class=2,
            status_detail=0x0B,
        ),
        """23 81 02 01 00 00 00 00  80 a1 b2 c3 d4 e5 11 22
           33 44 55 66 00 00 00 00  77 88 99 aa bb cc dd ee
           ff 01 02 03 02 0b 00 00  00 00 00 00 00 00 00 00""",
    ),
    (
        TextRequest(
            final=True,
            lun=LUN,
            initiator_task_tag=0x11223344,
            target_transfer_tag=0x55667788,
            cmd_sn=0x99AABBCC,
            exp_stat_sn=0xDDEEFF01,
            data=b"SendTargets=All\0",
        ),
        """44 80 00 00 00 00 00 10  00 01 02 03 04 05 06 07
           11 22 33 44 55 66 77 88  99 aa bb cc dd ee ff 01
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
           53 65 6e 64 54 61 72 67  65 74 73 3d 41 6c 6c 00""",
    ),
    (
        TextRequest(
            immediate=False,
            final=False,
            continue_=True,
            initiator_task_tag=1,
            cmd_sn=2,
            exp_stat_sn=3,
        ),
        """04 40 00 00 00 00 00 00  00 00 00 00 00 00 00 00
           00 00 00 01 ff ff ff ff  00 00 00 02 00 00 00 03
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00""",
    ),
    (
        TextResponse(
            final=False,
            continue_=True,
            lun=LUN,
            initiator_task_tag=0x11223344,
            target_transfer_tag=0x55667788,
            stat_sn=0x99AABBCC,
            exp_cmd_sn=0xDDEEFF01,
            max_cmd_sn=0x02030405,
            data=b"T",
        ),
        """24 40 00 00 00 00 00 01  00 01 02 03 04 05 06 07
           11 22 33 44 55 66 77 88  99 aa bb cc dd ee ff 01
           02 03 04 05 00 00 00 00  00 00 00 00 00 00 00 00
           54 00 00 00""",
    ),
    (
        LogoutRequest(
            reason=LogoutReason.REMOVE_CONNECTION_FOR_RECOVERY,
            initiator_task_tag=0x11223344,
            cid=0x5566,
            cmd_sn=0x778899AA,
            exp_stat_sn=0xBBCCDDEE,
        ),
        """46 82 00 00 00 00 00 00  00 00 00 00 00 00 00 00
           11 22 33 44 55 66 00 00  77 88 99 aa bb cc dd ee
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00""",
    ),
    (
        LogoutResponse(
            response=LogoutOutcome.CLEANUP_FAILED,
            initiator_task_tag=0x11223344,
            stat_sn=0x55667788,
            exp_cmd_sn=0x99AABBCC,
            max_cmd_sn=0xDDEEFF01,
            time2wait=0x0203,
            time2retain=0x0405,
        ),
        """26 80 03 00 00 00 00 00  00 00 00 00 00 00 00 00
           11 22 33 44 00 00 00 00  55 66 77 88 99 aa bb cc
           dd ee ff 01 00 00 00 00  02 03 04 05 00 00 00 00""",
    ),
    (
        NopOut(
            lun=LUN,
            initiator_task_tag=0xFFFFFFFF,
            target_transfer_tag=0x11223344,
            cmd_sn=0x55667788,
            exp_stat_sn=0x99AABBCC,
        ),
        """40 80 00 00 00 00 00 00  00 01 02 03 04 05 06 07
           ff ff ff ff 11 22 33 44  55 66 77 88 99 aa bb cc
           00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00""",
    ),
    (
        NopIn(
            lun=LUN,
            target_transfer_tag=0x11223344,
            stat_sn=0x55667788,
            exp_cmd_sn=0x99AABBCC,
            max_cmd_sn=0xDDEEFF01,
            data=b"ping?",
        ),
        """20 80 00 00 00 00 00 05  00 01 02 03 04 05 06 07
           ff ff ff ff 11 22 33 44  55 66 77 88 99 aa bb cc
           dd ee ff 01 00 00 00 00  00 00 00 00 00 00 00 00
           70 69 6e 67 3f 00 00 00""",
    ),
    (
        AsyncMessage(
            lun=LUN,
            stat_sn=0x55667788,
            exp_cmd_sn=0x99AABBCC,
            max_cmd_sn=0xDDEEFF01,
            async_event=AsyncEvent.CONNECTION_DROPPED,
            async_vcode=0x0A,
            parameter1=0x1122,
            parameter2=0x3344,
            parameter3=0x5566,
        ),
        """32 80 00 00 00 00 00 00  00 01 02 03 04 05 06 07
           ff ff ff ff 00 00 00 00  55 66 77 88 99 aa bb cc
           dd ee ff 01 02 0a 11 22  33 44 55 66 00 00 00 00""",
    ),
    (
        Reject(
            reason=RejectReason.INVALID_PDU_FIELD,
            stat_sn=0x55667788,
            exp_cmd_sn=0x99AABBCC,
            max_cmd_sn=0xDDEEFF01,
            data_sn=0x02030405,
            data=bytes(BHS_LENGTH),
        ),
        """3f 80 09 00 00 00 00 30  00 00 00 00 00 00 00 00
           ff ff ff ff 00 00 00 00  55 66 77 88 99 aa bb cc
           dd ee ff 01 02 03 04 05  00 00 00 00 00 00 00 00
         """
        + "00 " * BHS_LENGTH,
    ),
]
"""Every field of the first example of a kind has a value of its own, so that none can be mistaken
for another."""


def _values(place: Place) -> st.SearchStrategy[object]:
    match place:
        case Octets():
            return st.binary(min_size=place.size, max_size=place.size)
        case Number():
            return st.integers(0, 256**place.size - 1).map(place.kind)
        case Bits():
            return st.integers(0, 2**place.width - 1).map(place.kind)


def _pdus_of(kind: type[KnownPdu]) -> st.SearchStrategy[KnownPdu]:
    fields = {name: _values(place) for name, place in LAYOUTS[kind]}
    return st.builds(kind, data=st.binary(max_size=70), **fields)


def pdus() -> st.SearchStrategy[Pdu]:
    """Return a strategy for PDUs of every kind, with any value in any field."""
    return st.one_of([_pdus_of(kind) for kind in KNOWN_PDUS.values()])
