"""The messages that workers may send: every kind there and back, and everything else refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.errors import Failure, Retry
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
from iscsid.protocol.vpd import ReplacedLun
from iscsid.secret import Secret
from iscsid.workers.channel import LONGEST
from iscsid.workers.codec import Malformed
from iscsid.workers.job_kinds import (
    KINDS,
    NOTES,
    REPLACED,
    FromWorker,
    decode,
    encode,
    is_final,
    kind_of,
)
from iscsid.workers.messages import ADDRESSES, LogLine, Progress
from tests.support.jobs import ISID, TARGET, discovery_job, login_job, scan_job

LOGIN, DISCOVERY, SCAN = login_job(), discovery_job(), scan_job()
J = LOGIN.id
FAILURE = Failure(Retry.LATER, "connection refused", "start the target")
RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=2**32 - 1)
PORTAL = Portal("192.0.2.1")
RECORD = DiscoveryRecord(
    TARGET,
    (TargetAddress(PORTAL, 1), TargetAddress(Portal("fe80::1%eth0", 3261)), TargetAddress(PORTAL)),
)

SOUND: list[tuple[Job, FromWorker]] = [
    (DISCOVERY, TargetDiscovered(J, RECORD)),
    (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, ()))),
    (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, (), TARGET.upper()))),
    (DISCOVERY, DiscoveryCompleted(J, kept=False, notes=("skipped 0.0.0.0", "ü"))),
    (DISCOVERY, DiscoveryFailed(J, FAILURE)),
    (LOGIN, LoginSucceeded(J, RESULT, PORTAL)),
    (LOGIN, LoginSucceeded(J, RESULT, PORTAL, Portal("storage.example", 1))),
    (LOGIN, LoginFailed(J, FAILURE)),
    (LOGIN, LoginFailed(J, FAILURE, (ReplacedLun(2**64 - 1, bytes(32)),))),
    (SCAN, ScanFinished(J)),
    (SCAN, ScanFailed(J, FAILURE)),
    (LOGIN, LogLine(J, Level.DEBUG, "> login request\n")),
    (SCAN, Progress(J, "looking for LUN 3")),
]


def fields_of(message: FromWorker) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__dataclass_fields__}


@pytest.mark.parametrize(("job", "message"), SOUND)
def test_every_kind_of_message_arrives_as_it_was_sent(job: Job, message: FromWorker) -> None:
    assert decode(job, encode(message)) == message


@pytest.mark.parametrize(("job", "message"), SOUND)
def test_a_worker_cannot_speak_of_another_job(job: Job, message: FromWorker) -> None:
    other = type(message)(**{**fields_of(message), "job_id": 99})
    assert decode(job, encode(other)) == message


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (job, message)
        for _, message in SOUND
        for job in (LOGIN, DISCOVERY, SCAN)
        if not isinstance(message, LogLine | Progress)
        and (job, type(message)) not in {(each, type(sound)) for each, sound in SOUND}
    ],
)
def test_a_fact_of_another_kind_of_job_is_refused(job: Job, message: FromWorker) -> None:
    with pytest.raises(Malformed, match="not a message of a"):
        decode(job, encode(message))


def test_only_the_end_of_a_job_is_a_last_word() -> None:
    last = [is_final(message) for _, message in SOUND]
    assert last == [False] * 3 + [True] * 8 + [False] * 2
    assert not is_final(DiscoveryCompleted(J, kept=True))


@pytest.mark.parametrize(
    ("job", "kind"), [(LOGIN, LoginFailed), (DISCOVERY, DiscoveryFailed), (SCAN, ScanFailed)]
)
def test_each_kind_of_job_has_its_own_failure(job: Job, kind: type) -> None:
    failed = kind_of(job).failed
    assert failed is not None and failed(job.id, FAILURE) == kind(job.id, FAILURE)


def test_no_secret_is_in_a_message_about_a_login_with_secrets() -> None:
    authentication = Authentication(
        Credentials("alice", Secret("secret-alice-123")), Credentials("t", Secret("secret-456-789"))
    )
    job = login_job(authentication=authentication)
    assert b"secret" not in encode(LoginSucceeded(job.id, RESULT, PORTAL))


# --- cut to size --------------------------------------------------------------------------------


def test_a_long_text_is_cut_by_its_sender() -> None:
    message = decode(LOGIN, encode(LoginFailed(J, Failure(Retry.SOON, "x" * 5000))))
    assert isinstance(message, LoginFailed)
    assert message.failure.what == "x" * 1000


def test_more_notes_than_may_be_sent_are_left_out() -> None:
    notes = tuple(f"note {number}" for number in range(NOTES + 5))
    message = decode(DISCOVERY, encode(DiscoveryCompleted(J, notes=notes)))
    assert message == DiscoveryCompleted(J, notes=notes[:NOTES])


def test_the_largest_messages_fit() -> None:
    widest = "\x01" * 2000
    addresses = tuple(
        TargetAddress(Portal(f"{'.'.join(['l' * 60] * 4)}.example", 60000 + i), 65535)
        for i in range(ADDRESSES)
    )
    largest: list[tuple[Job, FromWorker]] = [
        (DISCOVERY, TargetDiscovered(J, DiscoveryRecord(TARGET, addresses))),
        (DISCOVERY, DiscoveryCompleted(J, notes=(widest,) * (NOTES + 1))),
        (
            LOGIN,
            LoginFailed(
                J,
                Failure(Retry.SOON, widest, widest),
                tuple(ReplacedLun(2**64 - 1 - lun, bytes(32)) for lun in range(REPLACED + 1)),
            ),
        ),
    ]
    for job, message in largest:
        octets = encode(message)
        assert len(octets) <= LONGEST
        decode(job, octets)


def test_half_a_character_in_a_text_does_no_harm() -> None:
    received = decode(LOGIN, encode(LogLine(J, Level.INFO, "disk \udcff")))
    assert received == LogLine(J, Level.INFO, "disk \\udcff")


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


NOT_SENT = {"id", "socket_options"}
"""The number is the message's own; the daemon itself makes the connections."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_job_reaches_the_worker(kind: type) -> None:
    """A limit that was added to the job alone had no effect, and nothing showed it."""
    assert {each.name for each in fields(kind)} - NOT_SENT == KINDS[kind].fields.keys()
