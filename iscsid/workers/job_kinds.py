"""The kinds of jobs: how each is sent to a worker, what runs it, and what it may report.

``KINDS`` has a row for each class of job. To add a kind:

1. Add a frozen dataclass to ``jobs``, with ``id``, ``deadline`` (seconds, 0 for none) and
   ``title``, and add it to the union ``Job``.
2. Add the facts it reports to ``facts``, each with the field ``job_id``.
3. Write the function that does the work, ``run(job, reporter)``, in a module that imports little:
   ``reporter.report(fact)`` sends a fact, ``reporter.progress(step)`` names the next step, an
   ``IscsidError`` or ``OSError`` that leaves it is the failure of the job.
4. Add a row here: the codec of the job's fields without ``id``, the function, the codec of each
   fact's fields without ``job_id``, and the ``Confinement``. ``PRIVILEGED`` is for jobs that need
   root and read nothing from the network.

Every job ends with ``facts.WorkerEnded``. Its ``how`` is set if the job failed and its row has no
``failed`` (a class of fact for failures), if its deadline passed, or if the worker died. A job that
hangs in the kernel blocks its worker only: the daemon goes on at once, a new job gets another
worker. Values may be large: what exceeds one datagram is sent in a memfd, up to ``MOST_OCTETS``.

The checks of ``decode`` are strict because a worker may have been taken over by its target: it can
report about its own job only, and only what that kind of job may report. Pure but for the functions
that the rows name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iscsid.errors import Failure
from iscsid.facts import (
    BindingsWritten,
    DiscoveryCompleted,
    DiscoveryFailed,
    DisksChecked,
    Fact,
    FilesRead,
    LoginFailed,
    LoginSucceeded,
    ScanFailed,
    ScanFinished,
    TargetDiscovered,
)
from iscsid.jobs import (
    CheckDisksJob,
    DiscoveryJob,
    JobId,
    LoginJob,
    ReadFilesJob,
    ResolveJob,
    SaveBindingsJob,
    ScanJob,
    WorkerJob,
)
from iscsid.orders import Level
from iscsid.protocol.names import Portal, why_unusable
from iscsid.protocol.parameters import LoginPlan
from iscsid.workers import disk_jobs
from iscsid.workers.codec import (
    Codec,
    Malformed,
    as_set,
    choice,
    fields,
    flag,
    from_octets,
    number,
    optional,
    seconds,
    several,
    text,
    to_octets,
)
from iscsid.workers.discovery_worker import discover
from iscsid.workers.login_worker import run_login
from iscsid.workers.messages import (
    FAILURE,
    FILES,
    FROM_WORKER,
    LOGIN_PLAN,
    LOGIN_RESULT,
    LUN,
    LUN_IDENTITIES,
    NAME,
    PORTAL,
    RECORD,
    REPLACED_LUN,
    TIMEOUTS,
    TO_WORKER,
    Connecting,
    ConnectionWanted,
    JobEnded,
    LogLine,
    Progress,
    SendTargetsAgain,
    Unprotected,
)
from iscsid.workers.reporter import Reporter
from iscsid.workers.resolver import HostResolved, resolve
from iscsid.workers.sandbox import Confinement
from iscsid.workers.scan_worker import run_scan

NOTES = 60
"""The most notes of one discovery that are reported."""
MISSING = 4096
"""The most absent LUNs of one session that are reported; the next scan finds the others."""
ABSENT = 300
"""Characters of the list of LUNs that a target does not have."""
REPLACED = 256
"""The most LUNs of one session with another identity that are reported."""
MOST_OCTETS = 64 * 1024 * 1024
"""Of one message of a privileged worker. 65,536 bindings take a tenth of it."""

FromWorker = Fact | HostResolved | LogLine | Progress | Unprotected | ConnectionWanted | JobEnded
ToWorker = SendTargetsAgain | Connecting


@dataclass(frozen=True, slots=True)
class JobKind:
    """One row of the table."""

    fields: Mapping[str, Codec[Any]]
    run: Callable[[Any, Reporter], None]
    reports: Mapping[type[Any], Codec[Any]]
    confinement: Confinement
    failed: Callable[[JobId, Failure], Fact] | None = None


KINDS: dict[type[Any], JobKind] = {
    DiscoveryJob: JobKind(
        fields={
            "portal": PORTAL,
            "login": LOGIN_PLAN,
            "timeouts": TIMEOUTS,
            "deadline": seconds(),
            "keep": flag(),
        },
        run=discover,
        reports={
            TargetDiscovered: fields(record=RECORD),
            DiscoveryCompleted: fields(
                kept=flag(),
                notes=several(text(300), NOTES),
                skipped=number(0, 2**32 - 1),
                answered_at=optional(PORTAL),
            ),
            DiscoveryFailed: fields(failure=FAILURE),
        },
        confinement=Confinement.TARGET,
        failed=DiscoveryFailed,
    ),
    LoginJob: JobKind(
        fields={
            "portal": PORTAL,
            "login": LOGIN_PLAN,
            "timeouts": TIMEOUTS,
            "tcp_window_size": number(0, 2**31 - 1),
            "deadline": seconds(),
            "identities": LUN_IDENTITIES,
            "accepted": several(REPLACED_LUN, 65536),
            "only_try": flag(),
            "connect_timeout": seconds(),
        },
        run=run_login,
        reports={
            LoginSucceeded: fields(result=LOGIN_RESULT, portal=PORTAL, moved_to=optional(PORTAL)),
            LoginFailed: fields(failure=FAILURE, replaced=several(REPLACED_LUN, REPLACED)),
        },
        confinement=Confinement.TARGET,
        failed=LoginFailed,
    ),
    ScanJob: JobKind(
        fields={
            "sid": number(0, 2**32 - 1),
            "host_no": number(0, 2**32 - 1),
            "target_name": NAME,
            "luns": optional(as_set(several(LUN, 65536))),
            "disk_command_timeout": number(0, 2**31),
            "drop": as_set(several(LUN, 65536)),
            "deadline": seconds(),
        },
        run=run_scan,
        reports={
            ScanFinished: fields(missing=several(LUN, MISSING), absent=text(ABSENT)),
            ScanFailed: fields(failure=FAILURE),
        },
        confinement=Confinement.PRIVILEGED,
        failed=ScanFailed,
    ),
    CheckDisksJob: JobKind(
        fields=disk_jobs.CHECK_DISKS,
        run=disk_jobs.check_disks,
        reports={DisksChecked: disk_jobs.DISKS_CHECKED},
        confinement=Confinement.PRIVILEGED,
    ),
    ReadFilesJob: JobKind(
        fields=disk_jobs.READ_FILES,
        run=disk_jobs.read_files,
        reports={FilesRead: disk_jobs.FILES_READ},
        confinement=Confinement.PRIVILEGED,
    ),
    SaveBindingsJob: JobKind(
        fields=disk_jobs.SAVE_BINDINGS,
        run=disk_jobs.save_bindings,
        reports={BindingsWritten: disk_jobs.BINDINGS_WRITTEN},
        confinement=Confinement.PRIVILEGED,
    ),
    ResolveJob: JobKind(
        fields={"portal": PORTAL, "deadline": seconds()},
        run=resolve,
        reports={
            HostResolved: fields(
                portals=several(PORTAL, 16), error=number(-1000, 1000), unreadable=FILES
            )
        },
        confinement=Confinement.RESOLVER,
    ),
}

_JOBS = {job.__name__: job for job in KINDS}
_CODECS = {
    **FROM_WORKER,
    **{each: row.reports[each] for row in KINDS.values() for each in row.reports},
}
_BY_NAME = {each.__name__: each for each in _CODECS}
_TO_WORKER = {each.__name__: each for each in TO_WORKER}
_LEVEL = choice(Level)


def kind_of(job: WorkerJob) -> JobKind:
    """Return the row of a job."""
    return KINDS[type(job)]


# --- to a worker --------------------------------------------------------------------------------


def encode_job(job: WorkerJob, level: Level) -> bytes:
    """Write a job; ``level`` is the least severe one of which lines are logged."""
    values = {name: codec.write(getattr(job, name)) for name, codec in kind_of(job).fields.items()}
    return to_octets([type(job).__name__, job.id, _LEVEL.write(level), values])


def encode_order(message: ToWorker) -> bytes:
    """Write a message about the job that runs."""
    kind = type(message)
    return to_octets([kind.__name__, TO_WORKER[kind].write(message)])


def decode_job(received: bytes) -> tuple[WorkerJob, Level] | None:
    """Read a job; ``None`` for a message about the job before, which came too late."""
    found = from_octets(received)
    if not isinstance(found, list) or len(found) != 4:
        return None
    name, number_, level, values = found
    kind = _JOBS[name]
    codecs = KINDS[kind].fields
    job: WorkerJob = kind(
        id=JobId(number_), **{each: codec.read(values[each]) for each, codec in codecs.items()}
    )
    return job, _LEVEL.read(level)


def decode_order(received: bytes) -> ToWorker:
    """Read a message about the job that runs."""
    found = from_octets(received)
    if not isinstance(found, list) or len(found) != 2:
        raise Malformed("no order")
    order: ToWorker = TO_WORKER[_TO_WORKER[found[0]]].read(found[1])
    return order


# --- from a worker ------------------------------------------------------------------------------


def encode(message: FromWorker) -> bytes:
    """Write a message. Long texts and lists are cut to what may be sent."""
    kind = type(message)
    return to_octets([kind.__name__, _CODECS[kind].write(message)])


def decode(job: WorkerJob, received: bytes) -> FromWorker:
    """Read what the worker of ``job`` has sent; raises ``Malformed``."""
    found = from_octets(received)
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[0], str):
        raise Malformed("no message")
    kind = _BY_NAME.get(found[0])
    if kind is None or not (kind in FROM_WORKER or kind in kind_of(job).reports):
        raise Malformed(f"not a message of a {job.title}: {found[0]!r:.40}")
    message: FromWorker = kind(job_id=job.id, **_CODECS[kind].read(found[1]))
    if isinstance(message, LoginSucceeded) and isinstance(job, LoginJob):
        _compare_with_plan(job.login, message)
        for portal in (message.portal, message.moved_to):
            _check_portal(portal, job.portal)
    if isinstance(message, DiscoveryCompleted) and isinstance(job, DiscoveryJob):
        _check_portal(message.answered_at, job.portal)
    if isinstance(message, ConnectionWanted):
        if isinstance(job, DiscoveryJob | LoginJob):
            _check_portal(message.portal, job.portal)
        else:
            raise Malformed("a connection was wanted, and this job has none")
    return message


def is_final(message: FromWorker) -> bool:
    """Whether a worker has nothing more to report about its job after this."""
    if isinstance(message, DiscoveryCompleted):
        return not message.kept
    return type(message) not in FROM_WORKER and not isinstance(message, TargetDiscovered)


def _check_portal(portal: Portal | None, configured: Portal) -> None:
    """Refuse a portal that the worker's own checks must have refused, wherever it got it."""
    if portal is not None and portal != configured and (why := why_unusable(portal)):
        raise Malformed(f"{portal}: {why}")


def _compare_with_plan(plan: LoginPlan, login: LoginSucceeded) -> None:
    """Refuse a result that the plan did not allow: these values go to the kernel."""
    offer, result = plan.offer, login.result
    agreed = result.parameters
    for is_valid, what in (
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
        if not is_valid:
            raise Malformed(f"{what} is not what this login could agree upon")
