"""tshark reads our Login Requests, and sees in them what we meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from iscsid.protocol.parameters import Authentication, Credentials, LoginPlan, Offer
from iscsid.secret import Secret
from tests.support import tshark
from tests.target.login import split_text
from tests.target.pairing import ISID, log_in, make_plan
from tests.target.profile import LIO, TGTD, Profile
from tests.target.script import Script

OURS, THEIRS = b"secret-of-initiator", b"secret-of-target"
MUTUAL = Authentication(Credentials("alice", Secret(OURS)), Credentials("bob", Secret(THEIRS)))
LONG = Offer(extra=tuple((f"X-com.example.key{number}", "v" * 200) for number in range(60)))
CASES = {
    "normal": (make_plan(cmd_sn=0xFFFFFFFE), Script(profile=LIO)),
    "discovery": (make_plan(discovery=True), Script(profile=TGTD, security_rounds=2)),
    "mutual CHAP": (
        make_plan(authentication=MUTUAL),
        Script(accounts={"alice": OURS}, own_account=("bob", THEIRS), piece=30),
    ),
    "long text": (make_plan(offer=LONG, skip_security=True), Script(profile=LIO)),
}


def number(text: str) -> int:
    return int(text, 0)


@pytest.mark.parametrize(("plan", "script"), CASES.values(), ids=list(CASES))
def test_tshark_sees_what_we_meant(plan: LoginPlan, script: Script, tmp_path: Path) -> None:
    tshark.require()
    _, target = log_in(script, plan)
    requests = target.login_requests
    seen = tshark.dissect([(True, each) for each in requests], tmp_path)
    for octets, fields in zip(requests, seen, strict=True):
        assert fields["frame.protocols"][0].endswith("iscsi")
        assert number(fields["iscsi.opcode"][0]) == 3
        assert number(fields["iscsi.login.csg"][0]) == octets[1] >> 2 & 3
        assert number(fields["iscsi.cmdsn"][0]) == plan.cmd_sn
        assert number(fields["iscsi.datasegmentlength"][0]) == int.from_bytes(octets[5:8], "big")
        assert fields["iscsi.isid"][0].replace(":", "") == ISID.hex()
        assert set("".join(fields.get("iscsi.padding", []))) <= {"0", ":"}


def test_tshark_reads_the_keys_of_a_whole_text(tmp_path: Path) -> None:
    tshark.require()
    _, target = log_in(plan=make_plan())
    seen = tshark.dissect([(True, each) for each in target.login_requests], tmp_path)
    for octets, fields in zip(target.login_requests, seen, strict=True):
        length = int.from_bytes(octets[5:8], "big")
        pairs = split_text(octets[48 : 48 + length])
        assert fields["iscsi.keyvalue"] == [f"{name}={value}" for name, value in pairs]


@pytest.mark.parametrize("profile", [TGTD, LIO], ids=lambda profile: profile.name)
def test_tshark_follows_the_serial_numbers(profile: Profile, tmp_path: Path) -> None:
    tshark.require()
    _, target = log_in(Script(profile=profile, operational_rounds=2))
    both = [
        (is_ours, each)
        for pair in zip(target.login_requests, target.sent, strict=True)
        for is_ours, each in zip((True, False), pair, strict=True)
    ]
    seen = tshark.dissect(both, tmp_path)
    for response, request in zip(seen[1::2], seen[2::2], strict=False):
        expected = (number(response["iscsi.statsn"][0]) + 1) % 2**32
        assert number(request["iscsi.expstatsn"][0]) == expected
