"""What workers may say: every kind of message there and back, and everything else refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import Decision, Failure
from iscsid.facts import (
    DiscoveryCompleted,
    DiscoveryFailed,
    LoginFailed,
    LoginSucceeded,
    ScanFailed,
    ScanFinished,
    TargetDiscovered,
)
from iscsid.jobs import Job
from iscsid.orders import Level
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import (
    AgreedParameters,
    Authentication,
    Credentials,
    Digest,
    LoginResult,
)
from iscsid.secret import Secret
from iscsid.workers.messages import (
    ADDRESSES,
    LONGEST,
    NOTES,
    Doing,
    Message,
    Said,
    decode,
    encode,
    failed,
    is_last_word,
)
from iscsid.workers.shapes import Malformed
from tests.workers.jobs import ISID, TARGET, discovery_job, login_job, scan_job

LOGIN, DISCOVERY, SCAN = login_job(), discovery_job(), scan_job()
J = LOGIN.job
FAILURE = Failure(Decision.RETRY_SLOWLY, "connection refused", "start the target")
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=2**32 - 1)
PORTAL = Portal("192.0.2.1")
RECORD = DiscoveryRecord(
    TARGET,
    (TargetAddress(PORTAL, 1), TargetAddress(Portal("fe80::1%eth0", 3261)), TargetAddress(PORTAL)),
)

SOUND: list[tuple[Job, Message]] = [
    (DISCOVERY, TargetDiscovered(J, RECORD)),
    (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, ()))),
    (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, (), TARGET.upper()))),
    (DISCOVERY, DiscoveryCompleted(J, kept=False, notes=("skipped 0.0.0.0", "ü"))),
    (DISCOVERY, DiscoveryFailed(J, FAILURE)),
    (LOGIN, LoginSucceeded(J, RESULT, PORTAL)),
    (LOGIN, LoginSucceeded(J, RESULT, PORTAL, Portal("storage.example", 1))),
    (LOGIN, LoginFailed(J, FAILURE)),
    (SCAN, ScanFinished(J)),
    (SCAN, ScanFailed(J, FAILURE)),
    (LOGIN, Said(J, Level.DEBUG, "> login request\n")),
    (SCAN, Doing(J, "looking for LUN 3")),
]


@pytest.mark.parametrize(("job", "message"), SOUND)
def test_every_kind_of_message_arrives_as_it_was_said(job: Job, message: Message) -> None:
    assert decode(job, encode(message)) == message


@pytest.mark.parametrize(("job", "message"), SOUND)
def test_a_worker_cannot_speak_of_another_job(job: Job, message: Message) -> None:
    other = type(message)(**{**_fields(message), "job": 99})
    assert decode(job, encode(other)).job == job.job


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (job, message)
        for _, message in SOUND
        for job in (LOGIN, DISCOVERY, SCAN)
        if not isinstance(message, Said | Doing)
        and (job, type(message)) not in {(each, type(sound)) for each, sound in SOUND}
    ],
)
def test_a_fact_of_another_kind_of_job_is_refused(job: Job, message: Message) -> None:
    with pytest.raises(Malformed, match="nothing a"):
        decode(job, encode(message))


def test_only_the_end_of_a_job_is_a_last_word() -> None:
    last = [is_last_word(message) for _, message in SOUND]
    assert last == [False] * 3 + [True] * 7 + [False] * 2
    assert not is_last_word(DiscoveryCompleted(J, kept=True))


@pytest.mark.parametrize(
    ("job", "kind"), [(LOGIN, LoginFailed), (DISCOVERY, DiscoveryFailed), (SCAN, ScanFailed)]
)
def test_each_kind_of_job_has_its_own_failure(job: Job, kind: type) -> None:
    assert failed(job, FAILURE) == kind(job.job, FAILURE)


def test_no_secret_is_in_a_message_about_a_login_with_secrets() -> None:
    authentication = Authentication(
        Credentials("alice", Secret("secret-alice-123")), Credentials("t", Secret("secret-456-789"))
    )
    job = login_job(authentication=authentication)
    assert b"secret" not in encode(LoginSucceeded(job.job, RESULT, PORTAL))


# --- cut to size --------------------------------------------------------------------------------


def test_a_long_text_is_cut_where_it_is_said() -> None:
    message = decode(LOGIN, encode(LoginFailed(J, Failure(Decision.RETRY, "x" * 5000))))
    assert isinstance(message, LoginFailed)
    assert message.failure.what == "x" * 1000


def test_more_notes_than_may_be_told_are_left_out() -> None:
    notes = tuple(f"note {number}" for number in range(NOTES + 5))
    message = decode(DISCOVERY, encode(DiscoveryCompleted(J, notes=notes)))
    assert message == DiscoveryCompleted(J, notes=notes[:NOTES])


def test_the_largest_messages_fit() -> None:
    widest = "\x01" * 2000
    addresses = tuple(
        TargetAddress(Portal(f"{'.'.join(['l' * 60] * 4)}.example", 60000 + i), 65535)
        for i in range(ADDRESSES)
    )
    largest: list[tuple[Job, Message]] = [
        (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, addresses))),
        (DISCOVERY, DiscoveryCompleted(J, notes=(widest,) * (NOTES + 1))),
        (LOGIN, LoginFailed(J, Failure(Decision.RETRY, widest, widest))),
    ]
    for job, message in largest:
        octets = encode(message)
        assert len(octets) <= LONGEST
        decode(job, octets)


def test_half_a_character_in_a_text_does_no_harm() -> None:
    said = decode(LOGIN, encode(Said(J, Level.INFO, "disk \udcff")))
    assert said == Said(J, Level.INFO, "disk \\udcff")


# --- what is refused ----------------------------------------------------------------------------


def _fields(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__dataclass_fields__}


def _login(**changes: object) -> bytes:
    """A login's success, with some of its values exchanged; ``...`` takes one out."""
    found = json.loads(encode(LoginSucceeded(J, RESULT, PORTAL)))
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


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "no_json": b"hello",
    "no_utf8": b'["Doing",{"what":"\xff"}]',
    "no_array": b'{"Doing":{"what":"x"}}',
    "no_kind": b'[{"what":"x"}]',
    "unknown_kind": b'["Leave",{"status":0}]',
    "kind_is_a_number": b'[1,{"what":"x"}]',
    "too_many": b'["Doing",{"what":"x"},1]',
    "fields_are_a_list": b'["Doing",["what"]]',
    "repeated_field": b'["Doing",{"what":"x","what":"y"}]',
    "job_named": b'["Doing",{"what":"x","job":7}]',
    "not_a_number": b'["Doing",{"what":NaN}]',
    "endless_number": b'["Doing",{"what":' + b"9" * 5000 + b"}]",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "unknown_level": b'["Said",{"level":"LOUD","text":"x"}]',
    "level_of_another_kind": b'["Said",{"level":3,"text":"x"}]',
    "text_too_long": b'["Doing",{"what":"' + b"x" * 1001 + b'"}]',
    "cut_off": b'["Doing",{"what":"x"',
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


@given(st.sampled_from([type(message).__name__ for _, message in SOUND]), JSON)
def test_any_json_is_a_message_or_refused(kind: str, found: object) -> None:
    octets = json.dumps([kind, found]).encode()
    for job in (LOGIN, DISCOVERY, SCAN):
        try:
            decode(job, octets)
        except Malformed:
            pass


lengths = st.integers(512, 2**24 - 1)


@given(
    tsih=st.integers(1, 65535),
    exp_stat_sn=st.integers(0, 2**32 - 1),
    alias=st.none() | st.text(max_size=255).filter(lambda text: text.isprintable()),
    tag=st.none() | st.integers(0, 65535),
    first=lengths,
    most=lengths,
    sent=lengths,
    truths=st.tuples(*[st.booleans()] * 4),
)
def test_every_result_a_login_can_have_arrives_unchanged(
    tsih: int,
    exp_stat_sn: int,
    alias: str | None,
    tag: int | None,
    first: int,
    most: int,
    sent: int,
    truths: tuple[bool, ...],
) -> None:
    initial_r2t, immediate_data, pdu_in_order, sequence_in_order = truths
    result = LoginResult(
        isid=ISID,
        tsih=tsih,
        cmd_sn=1,
        exp_stat_sn=exp_stat_sn,
        target_alias=alias,
        target_portal_group_tag=tag,
        parameters=AgreedParameters(
            header_digest=Digest.NONE,
            initial_r2t=initial_r2t,
            immediate_data=immediate_data,
            target_max_recv_data_segment_length=sent,
            first_burst_length=min(first, most),
            max_burst_length=most,
            data_pdu_in_order=pdu_in_order,
            data_sequence_in_order=sequence_in_order,
        ),
    )
    message = LoginSucceeded(J, result, PORTAL)
    assert decode(LOGIN, encode(message)) == message


def test_a_name_arrives_normalised() -> None:
    octets = encode(TargetDiscovered(J, DiscoveryRecord(IscsiName(TARGET.upper()), ())))
    message = decode(DISCOVERY, octets)
    assert isinstance(message, TargetDiscovered)
    assert message.record.target_name == TARGET
