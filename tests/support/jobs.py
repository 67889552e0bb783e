"""Jobs, plans, results and portals for the tests of the workers and of the initiator."""

from __future__ import annotations

from iscsid.config.settings import Timeouts
from iscsid.jobs import DiscoveryJob, JobId, LoginJob, ResolveJob, ScanJob
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import (
    AgreedParameters,
    Authentication,
    Credentials,
    Isid,
    LoginPlan,
    LoginResult,
)
from iscsid.secret import Secret

INITIATOR = IscsiName("iqn.2024-01.org.example:initiator")
TARGET = IscsiName("iqn.2024-01.org.example:disks")
ISID = Isid(bytes.fromhex("80123456789a"))
NOWHERE = Portal("127.0.0.1", 1)
ALICE = Authentication(Credentials("alice", Secret("secret-alice-123")))
IMPATIENT = Timeouts(login=1)


def plan(
    target_name: IscsiName | None = TARGET, authentication: Authentication | None = None
) -> LoginPlan:
    return LoginPlan(
        initiator_name=INITIATOR,
        target_name=target_name,
        isid=ISID,
        authentication=authentication or Authentication(),
    )


def login_job(
    number: int = 1,
    portal: Portal = NOWHERE,
    *,
    deadline: float = 20,
    timeouts: Timeouts | None = None,
    authentication: Authentication | None = None,
) -> LoginJob:
    return LoginJob(
        id=JobId(number),
        portal=portal,
        login=plan(authentication=authentication),
        timeouts=timeouts or Timeouts(),
        tcp_window_size=0,
        deadline=deadline,
    )


def login_result(job: LoginJob, *, tsih: int = 1, exp_stat_sn: int = 1) -> LoginResult:
    """What a target answers that takes everything, and wants no pause after a loss."""
    return LoginResult(
        isid=job.login.isid,
        tsih=tsih,
        cmd_sn=job.login.cmd_sn,
        exp_stat_sn=exp_stat_sn,
        target_portal_group_tag=1,
        parameters=AgreedParameters(default_time2wait=0),
    )


def discovery_job(
    number: int = 1,
    portal: Portal = NOWHERE,
    *,
    keep: bool = False,
    deadline: float = 20,
    timeouts: Timeouts | None = None,
) -> DiscoveryJob:
    return DiscoveryJob(
        id=JobId(number),
        portal=portal,
        login=plan(None),
        timeouts=timeouts or Timeouts(),
        deadline=deadline,
        keep=keep,
    )


def scan_job(number: int = 1, *, deadline: float = 20) -> ScanJob:
    return ScanJob(id=JobId(number), sid=1, host_no=4, target_name=TARGET, deadline=deadline)


def resolve_job(portal: Portal, number: int = 1) -> ResolveJob:
    return ResolveJob(id=JobId(number), portal=portal, deadline=20)
