"""From settings to what is offered to the target and set in the kernel.

Pure. The one place in which the administrator's keywords turn into iSCSI's and the kernel's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from iscsid.config.settings import DigestPolicy, DiscoverySettings, SessionSettings
from iscsid.jobs import JobId, LoginJob
from iscsid.orders import KernelTimeouts
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Digest, Isid, LoginPlan, Offer
from iscsid.protocol.vpd import LunIdentity, ReplacedLun

DIGESTS: dict[DigestPolicy, tuple[Digest, ...]] = {
    DigestPolicy.ALWAYS: (Digest.CRC32C,),
    DigestPolicy.NEVER: (Digest.NONE,),
    DigestPolicy.PREFER_ON: (Digest.CRC32C, Digest.NONE),
    DigestPolicy.PREFER_OFF: (Digest.NONE, Digest.CRC32C),
}

FOR_EVER = -1
DISCOVERY_SEGMENT = 262144
"""tgtd cuts a long answer into PDUs of the length we declare: a large one saves round trips."""


@dataclass(frozen=True, slots=True)
class LoginIdentity:
    """The initiator's name and alias, and how long a login may take (seconds, 0 is no limit)."""

    initiator_name: IscsiName
    initiator_alias: str = ""
    login_timeout: float = 60.0

    def named(self, initiator_name: IscsiName | None) -> LoginIdentity:
        """Return the identity under another name, if there is one."""
        return replace(self, initiator_name=initiator_name) if initiator_name else self


def session_offer(settings: SessionSettings) -> Offer:
    """Return what a normal session offers. Time2Wait 0: the next login may come at once."""
    return Offer(
        header_digest=DIGESTS[settings.header_digest],
        data_digest=DIGESTS[settings.data_digest],
        initial_r2t=settings.initial_r2t,
        immediate_data=settings.immediate_data,
        max_recv_data_segment_length=settings.max_recv_data_segment_length,
        first_burst_length=min(settings.first_burst_length, settings.max_burst_length),
        max_burst_length=settings.max_burst_length,
    )


def discovery_offer(settings: DiscoverySettings) -> Offer:
    """Return what a discovery session offers. The key lets Cisco's targets report changes."""
    extra = (("X-com.cisco.sendAsyncText", "Yes"),)
    return Offer(
        max_recv_data_segment_length=DISCOVERY_SEGMENT,
        extra=extra if settings.continuous and settings.send_async_text else (),
    )


def kernel_timeouts(settings: SessionSettings, longest_outage: int | None = None) -> KernelTimeouts:
    """Return the kernel's timeouts for a session; no outage lasts longer than ``longest_outage``.

    The kernel pings after one interval of silence, whether tasks are outstanding or not: the
    shorter of ActiveTimeout and IdleTimeout serves both. Any of the ping's settings at 0 switches
    pings off.
    """
    timeouts = settings.timeouts
    silences = [seconds for seconds in (timeouts.active, timeouts.idle) if seconds]
    recovery = settings.conn_fail_timeout or FOR_EVER
    if longest_outage is not None and not 0 <= recovery <= longest_outage:
        recovery = longest_outage
    pings = bool(silences and timeouts.ping)
    return KernelTimeouts(
        recovery=recovery,
        abort=settings.abort_timeout,
        lun_reset=settings.reset_timeout,
        target_reset=settings.reset_timeout,
        ping_interval=min(silences) if pings else 0,
        ping_timeout=timeouts.ping if pings else 0,
    )


def login_settings(settings: SessionSettings) -> tuple[object, ...]:
    """Return what only a new login can change."""
    return (
        session_offer(settings),
        settings.authentication,
        settings.tcp_window_size,
        settings.socket_options,
    )


def login_job(
    job: JobId,
    identity: LoginIdentity,
    target_name: IscsiName,
    portal: Portal,
    settings: SessionSettings,
    *,
    isid: Isid,
    cmd_sn: int,
    lun_identities: tuple[LunIdentity, ...],
    accepted: tuple[ReplacedLun, ...],
) -> LoginJob:
    """Return the job of logging in to a normal session."""
    return LoginJob(
        id=job,
        portal=portal,
        login=LoginPlan(
            initiator_name=identity.initiator_name,
            initiator_alias=identity.initiator_alias,
            target_name=target_name,
            isid=isid,
            cmd_sn=cmd_sn,
            authentication=settings.authentication,
            offer=session_offer(settings),
        ),
        timeouts=settings.timeouts,
        tcp_window_size=settings.tcp_window_size,
        socket_options=settings.socket_options,
        deadline=identity.login_timeout,
        identities=lun_identities,
        accepted=accepted,
    )
