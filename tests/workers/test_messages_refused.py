"""Messages that are none, or hold what may not be in them: all of them refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.facts import (
    LoginSucceeded,
)
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import (
    LoginResult,
)
from iscsid.workers.codec import Malformed
from iscsid.workers.job_kinds import decode, encode
from iscsid.workers.messages import ADDRESSES
from tests.support.jobs import ISID, TARGET, discovery_job, login_job, scan_job

LOGIN, DISCOVERY, SCAN = login_job(), discovery_job(), scan_job()
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=2**32 - 1)


def _login(**changes: object) -> bytes:
    """A login's success, with some of its values exchanged; ``...`` takes one out."""
    found = json.loads(encode(LoginSucceeded(LOGIN.id, RESULT, Portal("192.0.2.1"))))
    for path, value in changes.items():
        place = found[1]
        *outer, last = path.split("__")
        for step in outer:
            place = place[step]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return json.dumps(found).encode()


REFUSED_LOGINS: dict[str, bytes] = {
    "tsih_zero": _login(result__tsih=0),
    "tsih_too_large": _login(result__tsih=65536),
    "number_as_text": _login(result__tsih="1"),
    "truth_as_number": _login(result__tsih=True),
    "fraction": _login(result__tsih=1.0),
    "number_as_truth": _login(result__parameters__initial_r2t=1),
    "cmd_sn_negative": _login(result__cmd_sn=-1),
    "another_cmd_sn": _login(result__cmd_sn=2),
    "another_isid": _login(result__isid="000000000000"),
    "isid_too_short": _login(result__isid="8012"),
    "isid_with_blanks": _login(result__isid="80 12 34 56"),
    "isid_no_text": _login(result__isid=None),
    "digest_not_offered": _login(result__parameters__header_digest="CRC32C"),
    "no_such_digest": _login(result__parameters__data_digest="MD5"),
    "receives_more_than_declared": _login(
        result__parameters__max_recv_data_segment_length=2**24 - 1
    ),
    "first_burst_above_max_burst": _login(
        result__parameters__first_burst_length=4096, result__parameters__max_burst_length=512
    ),
    "length_of_zero": _login(result__parameters__target_max_recv_data_segment_length=0),
    "recovery_level": _login(result__parameters__error_recovery_level=3),
    "alias_too_long": _login(result__target_alias="a" * 256),
    "alias_with_half_a_character": _login(result__target_alias="\ud800"),
    "portal_without_port": _login(portal="::1"),
    "portal_port_zero": _login(portal="192.0.2.1:0"),
    "portal_with_path": _login(portal="../../etc"),
    "portal_missing": _login(portal=...),
    "unknown_field": _login(secret="x"),
    "parameters_are_a_list": _login(result__parameters=[]),
    "result_is_nothing": _login(result=None),
}


@pytest.mark.parametrize("octets", REFUSED_LOGINS.values(), ids=REFUSED_LOGINS)
def test_a_result_the_login_cannot_have_is_refused(octets: bytes) -> None:
    with pytest.raises(Malformed):
        decode(LOGIN, octets)


KINDS = [
    "TargetDiscovered",
    "DiscoveryCompleted",
    "LoginSucceeded",
    "ScanFailed",
    "LogLine",
    "Progress",
]

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "no_json": b"hello",
    "no_utf8": b'["Progress",{"what":"\xff"}]',
    "no_array": b'{"Progress":{"what":"x"}}',
    "no_kind": b'[{"what":"x"}]',
    "unknown_kind": b'["Leave",{"status":0}]',
    "kind_is_a_number": b'[1,{"what":"x"}]',
    "too_many": b'["Progress",{"what":"x"},1]',
    "fields_are_a_list": b'["Progress",["what"]]',
    "repeated_field": b'["Progress",{"what":"x","what":"y"}]',
    "job_named": b'["Progress",{"what":"x","job":7}]',
    "not_a_number": b'["Progress",{"what":NaN}]',
    "endless_number": b'["Progress",{"what":' + b"9" * 5000 + b"}]",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "unknown_level": b'["LogLine",{"level":"LOUD","text":"x"}]',
    "level_of_another_kind": b'["LogLine",{"level":3,"text":"x"}]',
    "text_too_long": b'["Progress",{"what":"' + b"x" * 1001 + b'"}]',
    "cut_off": b'["Progress",{"what":"x"',
}


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED)
def test_what_is_no_message_is_refused(octets: bytes) -> None:
    with pytest.raises(Malformed):
        decode(LOGIN, octets)


@pytest.mark.parametrize(
    "record",
    [
        {"target_name": "../../etc/passwd", "addresses": [], "spelling": ""},
        {"target_name": "iqn.2024-01.org.example:a b", "addresses": [], "spelling": ""},
        {"target_name": TARGET, "addresses": [], "spelling": "iqn.2024-01.org.example:other"},
        {"target_name": TARGET, "addresses": [], "spelling": "no name"},
        {"target_name": TARGET, "addresses": [{"portal": "192.0.2.1:1"}], "spelling": ""},
        {
            "target_name": TARGET,
            "addresses": [{"portal": "192.0.2.1:1", "portal_group_tag": 65536}],
            "spelling": "",
        },
        {
            "target_name": TARGET,
            "addresses": [{"portal": "192.0.2.1:1", "portal_group_tag": 1}] * (ADDRESSES + 1),
            "spelling": "",
        },
    ],
)
def test_a_record_that_is_none_is_refused(record: object) -> None:
    octets = json.dumps(["TargetDiscovered", {"record": record}]).encode()
    with pytest.raises(Malformed):
        decode(DISCOVERY, octets)


@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_refused(octets: bytes) -> None:
    for job in (LOGIN, DISCOVERY, SCAN):
        try:
            decode(job, octets)
        except Malformed:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.sampled_from(KINDS), JSON)
def test_any_json_is_a_message_or_refused(kind: str, found: object) -> None:
    octets = json.dumps([kind, found]).encode()
    for job in (LOGIN, DISCOVERY, SCAN):
        try:
            decode(job, octets)
        except Malformed:
            pass
