"""tshark reads what we write: every PDU type, field by field, and whole sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsid.protocol.pdu import (
    KNOWN_PDUS,
    LAYOUTS,
    AsyncMessage,
    KnownPdu,
    LoginRequest,
    LoginResponse,
    NopIn,
    NopOut,
    Reject,
    RequestPdu,
    TextRequest,
    TextResponse,
    padding,
)
from iscsid.protocol.text import parse_pairs
from tests.support import capture, tshark
from tests.support.pdus import EXAMPLES

WITNESSED = {
    "immediate": "iscsi.I",
    "initiator_task_tag": "iscsi.initiatortasktag",
    "target_transfer_tag": "iscsi.targettransfertag",
    "cmd_sn": "iscsi.cmdsn",
    "exp_stat_sn": "iscsi.expstatsn",
    "stat_sn": "iscsi.statsn",
    "exp_cmd_sn": "iscsi.expcmdsn",
    "max_cmd_sn": "iscsi.maxcmdsn",
    "transit": "iscsi.login.T",
    "continue_": "iscsi.login.C",
    "current_stage": "iscsi.login.csg",
    "next_stage": "iscsi.login.nsg",
    "version_max": "iscsi.versionmax",
    "version_min": "iscsi.versionmin",
    "version_active": "iscsi.versionactive",
    "tsih": "iscsi.tsih",
    "cid": "iscsi.cid",
    "status": "iscsi.login.status",
    "final": "iscsi.text.F",
    "response": "iscsi.logout.response",
    "time2wait": "iscsi.time2wait",
    "time2retain": "iscsi.time2retain",
    "async_event": "iscsi.asyncevent",
    "async_vcode": "iscsi.eventvendorcode",
    "parameter1": "iscsi.parameter1",
    "parameter2": "iscsi.parameter2",
    "parameter3": "iscsi.parameter3",
    "data_sn": "iscsi.datasn",
}
"""Which of tshark's fields shows what a field of ours holds."""

OTHER_WORDS: dict[tuple[type[KnownPdu], str], str] = {
    (TextRequest, "continue_"): "iscsi.text.C",
    (TextResponse, "continue_"): "iscsi.text.C",
}

NOT_SHOWN: dict[type[KnownPdu], set[str]] = {
    LoginRequest: {"immediate"},
    TextRequest: {"lun"},
    TextResponse: {"lun"},
    NopOut: {"lun"},
    NopIn: {"lun"},
    AsyncMessage: {"lun", "initiator_task_tag"},
    Reject: {"initiator_task_tag"},
}
"""What tshark has no field for; of a Reject it shows the tags of the header inside."""


def attributes(pdu: KnownPdu) -> set[str]:
    """Return the names of the fields that tshark can speak of."""
    names = {name for name, _ in LAYOUTS[type(pdu)]} - NOT_SHOWN.get(type(pdu), set())
    if isinstance(pdu, LoginResponse):
        names = names - {"status_class", "status_detail"} | {"status"}
    if isinstance(pdu, LoginRequest) and not pdu.transit:
        names -= {"next_stage"}
    return names


def test_tshark_sees_every_field_of_every_pdu(tmp_path: Path) -> None:
    tshark.require()
    segments = [(isinstance(pdu, RequestPdu), pdu.encode()) for pdu, _ in EXAMPLES]
    for (pdu, _), seen in zip(EXAMPLES, tshark.dissect(segments, tmp_path), strict=True):
        assert seen["frame.protocols"] == ["raw:ip:tcp:iscsi"]
        assert int(seen["iscsi.opcode"][0], 0) == pdu.opcode
        assert int(seen["iscsi.totalahslength"][0], 0) == 0
        assert int(seen["iscsi.datasegmentlength"][0], 0) == len(pdu.data)
        assert set("".join(seen.get("iscsi.padding", []))) <= {"0"}
        for name in attributes(pdu) - {"isid", "reason"}:
            field = OTHER_WORDS.get((type(pdu), name), WITNESSED[name])
            assert int(seen[field][0], 0) == int(getattr(pdu, name)), (type(pdu), name)
        if "isid" in attributes(pdu):
            assert bytes.fromhex(seen["iscsi.isid"][0]) == getattr(pdu, "isid", None)
        if "reason" in attributes(pdu):
            kind = "reject" if isinstance(pdu, Reject) else "logout"
            assert int(seen[f"iscsi.{kind}.reason"][0], 0) == getattr(pdu, "reason", None)


@pytest.mark.parametrize("name", capture.names())
def test_tshark_sees_whole_pdus_in_what_was_sent_to_real_targets(name: str, tmp_path: Path) -> None:
    tshark.require()
    sent = [each.octets for each in capture.read(name) if each.is_sent]
    ours = [octets for octets in sent if octets[0] & 0x3F in KNOWN_PDUS]
    for octets, seen in zip(ours, tshark.dissect([(True, o) for o in ours], tmp_path), strict=True):
        assert seen["frame.protocols"] == ["raw:ip:tcp:iscsi"]
        assert int(seen["iscsi.opcode"][0], 0) == octets[0] & 0x3F
        length = int(seen["iscsi.datasegmentlength"][0], 0)
        assert len(octets) == 48 + length + padding(length)
        assert set("".join(seen.get("iscsi.padding", []))) <= {"0"}
        pairs = parse_pairs(octets[48 : 48 + length])
        assert seen.get("iscsi.keyvalue", []) == [f"{key}={value}" for key, value in pairs]
