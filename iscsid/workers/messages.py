"""What a worker may say to the daemon: a closed set of messages, and their form on the channel.

A message is one JSON array, the name of a kind and its fields. The daemon does not trust its
workers, since they parse what comes from the network: everything is checked on arrival, nobody
can speak of another's job, and no secret has a place in any message. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob, ScanJob
from iscsid.orders import Level
from iscsid.protocol.names import (
    MAX_NAME_LENGTH,
    DiscoveryRecord,
    TargetAddress,
    parse_iscsi_name,
    parse_portal,
)
from iscsid.protocol.parameters import AgreedParameters, Digest, LoginPlan, LoginResult
from iscsid.protocol.vpd import ReplacedLun
from iscsid.workers.codec import (
    Codec,
    Malformed,
    checked,
    choice,
    fields,
    flag,
    from_octets,
    number,
    octets,
    optional,
    record,
    several,
    text,
    to_octets,
)

LONGEST = 128 * 1024
"""Octets of one message. The kernel's default socket buffer takes no more than about 200 kB."""
ADDRESSES = 256
"""The most addresses of one target that are told."""
NOTES = 60
"""The most notes of one discovery that are told."""
MISSING = 4096
REPLACED = 256
"""The most LUNs of one session whose absence is told; the next scan finds the others."""

ABSENT = 300
"""Characters of the list of LUNs that a target does not have."""

ASK_AGAIN = b"ask again"
"""The one thing the daemon says to a worker."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log."""

    job_id: JobId
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What the worker is about to do; where it dies silent, the last of these says during what."""

    job_id: JobId
    what: str


Report = (
    TargetDiscovered
    | DiscoveryCompleted
    | DiscoveryFailed
    | LoginSucceeded
    | LoginFailed
    | ScanFinished
    | ScanFailed
)
"""The facts that come from workers."""

Message = Report | LogLine | Progress

_LINE = text(1000)
_FAILURE = record(Failure, retry=choice(Retry), what=_LINE, advice=_LINE)
_PORTAL = checked(300, parse_portal, str)
_TAG = number(0, 65535)
_LENGTH = number(512, 2**24 - 1)
_SECONDS = number(0, 3600)
_SERIAL = number(0, 2**32 - 1)
_NAME = checked(MAX_NAME_LENGTH, parse_iscsi_name, str)


def _make_record(**values: Any) -> DiscoveryRecord:
    """Make a record; what a login will say in TargetName must be a spelling of the same name."""
    found = DiscoveryRecord(**values)
    if parse_iscsi_name(found.name_to_send) != found.target_name:
        raise Malformed(f"{found.spelling!r:.80} is no spelling of {found.target_name}")
    return found


_RECORD = record(
    _make_record,
    target_name=_NAME,
    addresses=several(
        record(TargetAddress, portal=_PORTAL, portal_group_tag=optional(_TAG)), ADDRESSES
    ),
    spelling=text(MAX_NAME_LENGTH),
)

_PARAMETERS = record(
    AgreedParameters,
    header_digest=choice(Digest),
    data_digest=choice(Digest),
    max_connections=number(1, 65535),
    initial_r2t=flag(),
    immediate_data=flag(),
    max_recv_data_segment_length=_LENGTH,
    target_max_recv_data_segment_length=_LENGTH,
    first_burst_length=_LENGTH,
    max_burst_length=_LENGTH,
    default_time2wait=_SECONDS,
    default_time2retain=_SECONDS,
    max_outstanding_r2t=number(1, 65535),
    data_pdu_in_order=flag(),
    data_sequence_in_order=flag(),
    error_recovery_level=number(0, 2),
)

_RESULT = record(
    LoginResult,
    isid=octets(6),
    tsih=number(1, 65535),
    cmd_sn=_SERIAL,
    exp_stat_sn=_SERIAL,
    target_alias=optional(text(255)),
    target_portal_group_tag=optional(_TAG),
    parameters=_PARAMETERS,
)

_REPLACED = record(ReplacedLun, lun=number(0, 2**64 - 1), fingerprint=octets(32))

_SHAPES: dict[type[Any], Codec[Any]] = {
    TargetDiscovered: fields(record=_RECORD),
    DiscoveryCompleted: fields(
        kept=flag(),
        notes=several(text(300), NOTES),
        skipped=number(0, 2**32 - 1),
        answered_at=optional(_PORTAL),
    ),
    DiscoveryFailed: fields(failure=_FAILURE),
    LoginSucceeded: fields(result=_RESULT, portal=_PORTAL, moved_to=optional(_PORTAL)),
    LoginFailed: fields(failure=_FAILURE, replaced=several(_REPLACED, REPLACED)),
    ScanFinished: fields(missing=several(number(0, 2**64 - 1), MISSING), absent=text(ABSENT)),
    ScanFailed: fields(failure=_FAILURE),
    LogLine: fields(level=choice(Level), text=_LINE),
    Progress: fields(what=_LINE),
}

_BY_NAME = {kind.__name__: kind for kind in _SHAPES}

_ALLOWED: dict[type[Any], tuple[type[Any], ...]] = {
    DiscoveryJob: (TargetDiscovered, DiscoveryCompleted, DiscoveryFailed),
    LoginJob: (LoginSucceeded, LoginFailed),
    ScanJob: (ScanFinished, ScanFailed),
}


def encode(message: Message) -> bytes:
    """Write a message. Long texts and lists are cut to what may be said."""
    kind = type(message)
    return to_octets([kind.__name__, _SHAPES[kind].write(message)])


def decode(job: Job, received: bytes) -> Message:
    """Read what the worker of ``job`` has said; raises ``Malformed``."""
    found = from_octets(received)
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[0], str):
        raise Malformed("no message")
    kind = _BY_NAME.get(found[0])
    if kind not in (*_ALLOWED[type(job)], LogLine, Progress):
        raise Malformed(f"nothing a {job.title} may say: {found[0]!r:.40}")
    message: Message = kind(job_id=job.id, **_SHAPES[kind].read(found[1]))
    if isinstance(message, LoginSucceeded) and isinstance(job, LoginJob):
        _compare_with_plan(job.login, message.result)
    return message


def failed(job: Job, failure: Failure) -> Report:
    """Make the fact that says that this kind of job failed."""
    match job:
        case DiscoveryJob():
            return DiscoveryFailed(job.id, failure)
        case LoginJob():
            return LoginFailed(job.id, failure)
        case ScanJob():
            return ScanFailed(job.id, failure)


def is_last_word(message: Message) -> bool:
    """Whether a worker has nothing more to report after this."""
    if isinstance(message, DiscoveryCompleted):
        return not message.kept
    return not isinstance(message, TargetDiscovered | LogLine | Progress)


def _compare_with_plan(plan: LoginPlan, result: LoginResult) -> None:
    """A login's result can be nothing its plan did not allow: these values go to the kernel."""
    offer, agreed = plan.offer, result.parameters
    for sound, what in (
        (result.isid == plan.isid, "ISID"),
        (result.cmd_sn == plan.cmd_sn, "CmdSN"),
        (agreed.header_digest in offer.header_digest, "HeaderDigest"),
        (agreed.data_digest in offer.data_digest, "DataDigest"),
        (
            agreed.max_recv_data_segment_length <= offer.max_recv_data_segment_length,
            "MaxRecvDataSegmentLength",
        ),
        (agreed.first_burst_length <= agreed.max_burst_length, "FirstBurstLength"),
    ):
        if not sound:
            raise Malformed(f"{what} is not what this login could agree upon")
