"""The steps of a session: how each action of its table is carried out.

Every step is given the session, and puts orders into its outbox. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from iscsid.errors import Failure, Retry
from iscsid.facts import LoginSucceeded
from iscsid.initiator.offers import kernel_timeouts, session_offer
from iscsid.initiator.retry import STABLE_AFTER
from iscsid.initiator.session_fsm import Action, State
from iscsid.initiator.session_tag import SessionTag
from iscsid.jobs import LoginJob
from iscsid.orders import (
    CheckDiskUsers,
    DestroySession,
    LearnCmdSn,
    ResumeSession,
    SendLogout,
    SessionDescription,
    StartSession,
    UnbindSession,
)
from iscsid.protocol.parameters import LoginPlan

if TYPE_CHECKING:
    from iscsid.initiator.session import Session

LOGOUT_PATIENCE = 15.0
"""Seconds for each step of a logout: flushing and removing the disks, the target's answer."""
SCAN_AFTER_RECOVERY = 5.0
"""Seconds: its disks are known, and the other sessions of a target that was away want in first."""
FIRST_CMD_SN = 1


def start_login(session: Session) -> None:
    session.job = session.outbox.new_job()
    session.next_attempt_at = None
    plan = LoginPlan(
        initiator_name=session.identity.initiator_name,
        initiator_alias=session.identity.initiator_alias,
        target_name=session.path.name_to_send,
        isid=session.isid,
        cmd_sn=session.cmd_sn,
        authentication=session.settings.authentication,
        offer=session_offer(session.settings),
    )
    job = LoginJob(
        id=session.job,
        portal=session.attempts.portal,
        login=plan,
        timeouts=session.settings.timeouts,
        tcp_window_size=session.settings.tcp_window_size,
        deadline=session.identity.login_timeout,
        identities=session.identities,
    )
    session.outbox.start(job, session, first=not session.attempts.has_failed)


def stop_login(session: Session) -> None:
    if session.job is not None:
        session.outbox.stop(session.job)
        session.job = None


def retry_later(session: Session) -> None:
    failure = session.last_failure or Failure(Retry.SOON, "the attempt was given up")
    session.outbox.failed(session.log_prefix, str(failure))
    portal_backoff, is_kept = session.portal_backoff, session.sid is not None
    waiting = portal_backoff.disks_waiting if is_kept else 0
    delay = session.attempts.delay_after_failure(failure, disks_waiting=waiting)
    if delay is None:
        session.outbox.error(session.log_prefix, "giving up until SIGHUP")
        return
    if is_kept or failure.retry is Retry.SOON:
        ahead = portal_backoff.begin_waiting(session.path.binding, session.attempts.portal)
        delay = session.attempts.delay_in_turn(delay, ahead)
    session.set_retry(delay)


def _description(session: Session, login: LoginSucceeded) -> SessionDescription:
    return SessionDescription(
        target_name=session.path.name_to_send,
        initiator_name=session.identity.initiator_name,
        portal=session.attempts.option.portal,
        portal_group_tag=login.result.target_portal_group_tag,
        session_tag=str(_session_tag(session)),
        cmd_sn=login.result.cmd_sn,
        exp_stat_sn=login.result.exp_stat_sn,
        parameters=login.result.parameters,
        timeouts=kernel_timeouts(session.settings),
    )


def _session_tag(session: Session) -> SessionTag:
    path = session.path
    return SessionTag(path.binding, session.isid, path.found_at, path.name)


def start_in_kernel(session: Session) -> None:
    assert session.login is not None
    description = _description(session, session.login)
    session.outbox.order(StartSession(session.path.binding, session.login.job_id, description))


def resume_in_kernel(session: Session) -> None:
    assert session.login is not None
    description = _description(session, session.login)
    job = session.login.job_id
    session.outbox.order(ResumeSession(session.path.binding, session.kernel_sid, job, description))


def come_up(session: Session) -> None:
    session.last_failure = session.time2wait = None
    session.up_since = session.outbox.now
    session.outbox.info(
        session.log_prefix, f"session is up ({session.path.binding}, host{session.host_no})"
    )


def scan(session: Session) -> None:
    session.scan()


def scan_later(session: Session) -> None:
    session.scans.later(SCAN_AFTER_RECOVERY)


def go_down(session: Session) -> None:
    reason = session.last_failure.what if session.last_failure else "logged out to log in again"
    seconds_up = session.outbox.now - session.up_since
    if seconds_up >= STABLE_AFTER:
        session.outbox.recovered(session.log_prefix)
    session.outbox.failed(session.log_prefix, f"session is down: {reason}")
    time2wait = session.time2wait
    if time2wait is None:
        time2wait = session.login.result.parameters.default_time2wait if session.login else 0
    session.set_retry(session.attempts.delay_after_loss(seconds_up, time2wait))
    if session.attempts.suspects_duplicate_name:
        session.outbox.warn(
            session.log_prefix,
            "each login succeeds and the connection drops again; does another host use the "
            f"InitiatorName {session.identity.initiator_name}?",
        )


def learn_cmd_sn(session: Session) -> None:
    session.outbox.order(LearnCmdSn(session.kernel_sid))


def check_disks(session: Session) -> None:
    session.outbox.order(CheckDiskUsers(session.kernel_sid, may_open=session.state is State.UP))


def stay(session: Session) -> None:
    uses = ", ".join(session.kept_because)
    session.outbox.warn(session.log_prefix, f"no longer wanted, but its disks are in use: {uses}")


def unbind(session: Session) -> None:
    withdraw_links(session)
    session.outbox.order(UnbindSession(session.kernel_sid))
    be_patient(session)


def send_logout(session: Session) -> None:
    session_tag = replace(_session_tag(session), is_logging_out=True)
    session.outbox.order(SendLogout(session.kernel_sid, str(session_tag)))
    be_patient(session)


def destroy(session: Session) -> None:
    session.outbox.cancel_timer(session.retry_timer)
    withdraw_links(session)
    session.outbox.order(DestroySession(session.kernel_sid))
    be_patient(session)


def withdraw_links(session: Session) -> None:
    """Remove the links before the kernel frees the device names for others."""
    session.outbox.order(*session.device_links.session_ended(session.kernel_sid))


def be_patient(session: Session) -> None:
    session.outbox.set_timer(session.logout_timer, LOGOUT_PATIENCE)


def start_afresh(session: Session) -> None:
    withdraw_links(session)
    session.last_failure = Failure(Retry.SOON, "the kernel has lost the session")
    session.sid = session.host_no = session.login = None
    session.cmd_sn, session.identities, session.reached = FIRST_CMD_SN, (), None
    retry_later(session)


def forget(session: Session) -> None:
    session.outbox.cancel_timer(session.retry_timer)
    session.outbox.cancel_timer(session.logout_timer)
    session.outbox.cancel_timer(session.scans.timer)
    if session.sid is not None:
        withdraw_links(session)
        session.outbox.info(session.log_prefix, f"session is gone ({session.path.binding})")


STEPS: dict[Action, Callable[[Session], None]] = {
    Action.START_LOGIN: start_login,
    Action.STOP_LOGIN: stop_login,
    Action.RETRY_LATER: retry_later,
    Action.START_IN_KERNEL: start_in_kernel,
    Action.RESUME_IN_KERNEL: resume_in_kernel,
    Action.MARK_UP: come_up,
    Action.SCAN: scan,
    Action.SCAN_LATER: scan_later,
    Action.MARK_DOWN: go_down,
    Action.LEARN_CMD_SN: learn_cmd_sn,
    Action.CHECK_DISKS: check_disks,
    Action.KEEP_IN_USE: stay,
    Action.UNBIND: unbind,
    Action.SEND_LOGOUT: send_logout,
    Action.DESTROY: destroy,
    Action.ARM_TIMEOUT: be_patient,
    Action.RESTART_LOGIN: start_afresh,
    Action.CLEAN_UP: forget,
}
