"""The messages between the daemon and a worker that do not depend on the kind of job.

Beside them a worker sends the facts of its job, and receives jobs: see ``job_kinds``. A message is
one JSON array, the name of a class and its fields. Here also lie the codecs of the values that
messages are made of. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from iscsid.config.settings import Timeouts
from iscsid.errors import Failure, Retry
from iscsid.jobs import JobId
from iscsid.orders import Level
from iscsid.protocol.names import (
    MAX_NAME_LENGTH,
    DiscoveryRecord,
    Portal,
    TargetAddress,
    parse_iscsi_name,
    parse_portal,
    why_unusable,
)
from iscsid.protocol.parameters import (
    AgreedParameters,
    Authentication,
    ChapAlgorithm,
    Credentials,
    Digest,
    LoginPlan,
    LoginResult,
    Offer,
)
from iscsid.protocol.vpd import ReplacedLun
from iscsid.secret import Secret
from iscsid.workers.codec import (
    Codec,
    Malformed,
    checked,
    choice,
    fields,
    flag,
    number,
    octets,
    optional,
    pair,
    record,
    several,
    text,
)

ADDRESSES = 256
"""The most addresses of one target that are reported."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """From a worker: a line for the log."""

    job_id: JobId
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """From a worker: what it is about to do. If it dies, the last one is named in the error."""

    job_id: JobId
    what: str


@dataclass(frozen=True, slots=True)
class Unprotected:
    """From a worker: a means of the sandbox that the kernel does not offer; logged once."""

    job_id: JobId
    what: str


@dataclass(frozen=True, slots=True)
class ConnectionWanted:
    """From a worker: connect to one of the addresses of ``portal``, counted from 0."""

    job_id: JobId
    portal: Portal
    index: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """From a worker: the job is done; ``failure`` is set if no fact of the job reported it."""

    job_id: JobId
    failure: Failure | None
    is_reusable: bool
    """Whether the worker will take another job."""


@dataclass(frozen=True, slots=True)
class SendTargetsAgain:
    """To a worker: send SendTargets once more."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """To a worker: the answer to ``ConnectionWanted``, beside the socket unless there is an error.

    The socket is connecting: the worker waits for it to become writable.
    """

    address: str
    count: int
    """How many addresses the portal has."""
    error: int = 0
    """An errno: no socket could be made."""
    resolver_error: int = 0
    """Of getaddrinfo(3): the name could not be resolved."""
    unreadable: tuple[str, ...] = ()
    """The name service's files that the worker which resolved it could not read."""


# --- codecs of values ---------------------------------------------------------------------------

LINE = text(1000)
FAILURE = record(Failure, retry=choice(Retry), what=LINE, advice=LINE)
PORTAL = checked(300, parse_portal, str)
FILES = several(text(300), 16)
LUN = number(0, 2**64 - 1)
_TAG = number(0, 65535)
_LENGTH = number(512, 2**24 - 1)
_SECONDS = number(0, 3600)
_ANY_SECONDS = number(0, 2**31)
_SERIAL = number(0, 2**32 - 1)
NAME = checked(MAX_NAME_LENGTH, parse_iscsi_name, str)
_DIGESTS = several(choice(Digest), 2)


def _make_record(**values: Any) -> DiscoveryRecord:
    """Make a record, and check again what the worker must have checked."""
    found = DiscoveryRecord(**values)
    if parse_iscsi_name(found.name_to_send) != found.target_name:
        raise Malformed(f"{found.spelling!r:.80} is no spelling of {found.target_name}")
    for address in found.addresses:
        if why := why_unusable(address.portal):
            raise Malformed(f"{address}: {why}")
    return found


RECORD = record(
    _make_record,
    target_name=NAME,
    addresses=several(
        record(TargetAddress, portal=PORTAL, portal_group_tag=optional(_TAG)), ADDRESSES
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

LOGIN_RESULT = record(
    LoginResult,
    isid=octets(6, 6),
    tsih=number(1, 65535),
    cmd_sn=_SERIAL,
    exp_stat_sn=_SERIAL,
    target_alias=optional(text(255)),
    target_portal_group_tag=optional(_TAG),
    parameters=_PARAMETERS,
)

_TEXT = text(65536)
"""Of the configuration: longer than any line of it that is accepted."""
_CREDENTIALS = record(
    Credentials,
    username=_TEXT,
    password=Codec(lambda value: value.reveal().hex(), lambda found: _read_secret(found)),
)

LOGIN_PLAN = record(
    LoginPlan,
    # As the administrator writes it, which some targets compare octet by octet.
    initiator_name=_TEXT,
    initiator_alias=_TEXT,
    target_name=optional(_TEXT),
    isid=octets(6, 6),
    cmd_sn=_SERIAL,
    authentication=record(
        Authentication,
        outgoing=optional(_CREDENTIALS),
        incoming=optional(_CREDENTIALS),
        algorithms=several(choice(ChapAlgorithm), len(ChapAlgorithm)),
    ),
    offer=record(
        Offer,
        header_digest=_DIGESTS,
        data_digest=_DIGESTS,
        initial_r2t=flag(),
        immediate_data=flag(),
        max_recv_data_segment_length=_LENGTH,
        first_burst_length=_LENGTH,
        max_burst_length=_LENGTH,
        max_outstanding_r2t=number(1, 65535),
        default_time2wait=_SECONDS,
        default_time2retain=_SECONDS,
        extra=several(pair(_TEXT, _TEXT), 1024),
    ),
    skip_security=flag(),
)

TIMEOUTS = record(
    Timeouts,
    login=_ANY_SECONDS,
    auth=_ANY_SECONDS,
    active=_ANY_SECONDS,
    idle=_ANY_SECONDS,
    ping=_ANY_SECONDS,
)

REPLACED_LUN = record(ReplacedLun, lun=LUN, fingerprint=octets(32, 32))
LUN_IDENTITIES = several(pair(LUN, octets(0, 65535)), 65536)

TO_WORKER: dict[type[Any], Codec[Any]] = {
    SendTargetsAgain: record(SendTargetsAgain),
    Connecting: record(
        Connecting,
        address=text(300),
        count=number(0, 65535),
        error=number(0, 2**31 - 1),
        resolver_error=number(-(2**31), 2**31 - 1),
        unreadable=FILES,
    ),
}

FROM_WORKER: dict[type[Any], Codec[Any]] = {
    LogLine: fields(level=choice(Level), text=LINE),
    Progress: fields(what=LINE),
    Unprotected: fields(what=LINE),
    ConnectionWanted: fields(portal=PORTAL, index=number(0, 255)),
    JobEnded: fields(failure=optional(FAILURE), is_reusable=flag()),
}


def _read_secret(found: object) -> Secret:
    # Not by way of ``checked``: its errors quote what they refuse.
    try:
        return Secret(bytes.fromhex(str(found)))
    except ValueError:
        raise Malformed("a secret is not in hexadecimal") from None
