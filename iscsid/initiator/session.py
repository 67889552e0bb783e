"""One session with a target, from the first login to its end.

Facts reach it as method calls. Each call notes what it brings and fires an event; the table in
``session_fsm`` gives the next state and the actions, and the actions are methods of ``Session``.
What they order goes to the outbox. Nothing outside this module writes a session's attributes. A
session that has reached GONE reports that through ``when_gone``, its only exit. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from iscsid import orders
from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import (
    NOT_CHECKED,
    CmdSnLearned,
    KernelSession,
    LoginSucceeded,
    SessionStarted,
    Timer,
    TimerPurpose,
)
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.login_terms import LoginTerms
from iscsid.initiator.lun_scanner import SCAN_AFTER_RECOVERY, LunScanner
from iscsid.initiator.offers import LoginIdentity, kernel_timeouts, login_settings
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import PlannedSession
from iscsid.initiator.portal_backoff import PortalBackoff
from iscsid.initiator.portal_groups import LoginEndpoint, compare_portal_group, reached
from iscsid.initiator.retry import STABLE_AFTER, RetryState, delay_before_retry
from iscsid.initiator.session_fsm import MEANINGLESS, OUTAGE, TRANSITIONS, Action, Event, State
from iscsid.initiator.session_tag import SessionTag
from iscsid.jobs import JobId, LoginJob
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Isid
from iscsid.protocol.vpd import ReplacedLun

LOGOUT_STEP_LIMIT = 15.0
"""Seconds for each step of a logout: flushing and removing the disks, the target's answer."""


class Session:
    """A session that is wanted, runs, or is on its way out."""

    def __init__(
        self,
        plan: PlannedSession,
        identity: LoginIdentity,
        outbox: Outbox,
        device_links: DeviceLinks,
        portal_backoff: PortalBackoff,
        when_gone: Callable[[Session], None],
    ) -> None:
        self.plan = plan
        self.state = State.WAITING
        self.since, self.changed_at_turn = outbox.now, outbox.turn
        self.sid: int | None = None
        self.host_no: int | None = None
        self.login: LoginSucceeded | None = None
        self.last_failure: Failure | None = None
        self.next_attempt_at: float | None = None
        self.is_wanted = True
        self.kept_because: tuple[str, ...] = ()
        self.lun_scanner = LunScanner(self, outbox, device_links)
        self._terms = LoginTerms(plan.binding, identity)
        self._outbox = outbox
        self._device_links = device_links
        self._portal_backoff = portal_backoff
        self._when_gone = when_gone
        self._retry = RetryState(plan, self._terms.isid)
        self._job: LoginJob | None = None
        self._settings_in_force = self._login_settings
        """The settings of the last login, as far as only a new login can change them."""
        self._timeouts_in_kernel: orders.KernelTimeouts | None = None
        self._longest_outage: int | None = None
        self._is_timed_by_kernel = True
        """Whether the kernel measures for itself how long the session is down, if it is."""
        self._was_asked_meanwhile = False
        """Whether an attempt was asked for (SIGHUP) after the one under way had begun."""
        self._has_tried_to_leave = False
        self._destroys = 0
        """How often the kernel was ordered to destroy the session."""
        self._reached: LoginEndpoint | None = None
        self._time2wait: float | None = None
        self._up_since = outbox.now

    # --- what others may read -------------------------------------------------------------------

    @property
    def log_prefix(self) -> str:
        """The prefix of every log line about this session."""
        return self.plan.log_prefix(self._retry.option.portal)

    @property
    def initiator_name(self) -> IscsiName:
        return self._terms.identity.initiator_name

    @property
    def isid(self) -> Isid:
        return self._terms.isid

    @property
    def portal(self) -> Portal:
        """The portal in use, or the one that is tried next, before any redirect."""
        return self._retry.option.portal

    @property
    def portal_group_tag(self) -> int | None:
        return self._retry.option.portal_group_tag

    @property
    def settings(self) -> SessionSettings:
        return self._retry.option.settings

    @property
    def is_up(self) -> bool:
        return self.state is State.UP

    @property
    def has_been_tried(self) -> bool:
        """Whether the session is up with its LUNs looked for, or an attempt has failed."""
        return self.last_failure is not None or self.lun_scanner.has_finished

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will happen to a session that is not wanted."""
        return bool(self.kept_because) and self.state in (State.UP, State.DOWN)

    @property
    def is_kept_in_doubt(self) -> bool:
        """Whether it is kept only because nothing could be found out about its disks."""
        return bool(self.kept_because) and all(u.startswith(NOT_CHECKED) for u in self.kept_because)

    @property
    def is_being_checked(self) -> bool:
        """Whether a session that is not wanted waits for the check of its disks."""
        return not (self.is_wanted or self.kept_because) and self.state in (State.UP, State.DOWN)

    # --- the state machine ----------------------------------------------------------------------

    def fire(self, event: Event) -> None:
        """Look up the table. A pair without a row is ``MEANINGLESS`` and changes nothing."""
        row = TRANSITIONS.get((self.state, event))
        if row is None:
            reason = MEANINGLESS[event][1]
            self._outbox.debug(self.log_prefix, f"{event.name} in {self.state.name}: {reason}")
            return
        before, (after, actions) = self.state, row
        if before is not after:
            self._become(after)
            self._outbox.debug(self.log_prefix, f"{before.name} -> {after.name} ({event.name})")
        for action in actions:
            self._perform(action)
        if after is State.GONE:
            self._when_gone(self)
        else:
            self._leave_if_possible()

    def _become(self, state: State) -> None:
        if self.is_up and state is not State.UP:
            self.lun_scanner.connection_lost()
        self.state = state
        self.since, self.changed_at_turn = self._outbox.now, self._outbox.turn
        self._portal_backoff.stop_waiting(self.plan.binding)

    def _leave_if_possible(self) -> None:
        """Let a session that is not wanted leave as soon as its state allows it, once."""
        may_go = (self.state, Event.UNWANTED) in TRANSITIONS
        if not self.is_wanted and not self._has_tried_to_leave and may_go:
            self._has_tried_to_leave = True
            self.fire(Event.UNWANTED)

    def _perform(self, action: Action) -> None:
        match action:
            case Action.START_LOGIN:
                self._start_login()
            case Action.STOP_LOGIN:
                self._stop_login()
            case Action.RETRY_LATER:
                self._retry_later()
            case Action.START_IN_KERNEL:
                self._start_in_kernel()
            case Action.RESUME_IN_KERNEL:
                self._resume_in_kernel()
            case Action.MARK_UP:
                self._mark_up()
            case Action.SCAN:
                self.scan()
            case Action.SCAN_LATER:
                self.lun_scanner.later(SCAN_AFTER_RECOVERY)
            case Action.MARK_DOWN:
                self._mark_down()
            case Action.LEARN_CMD_SN:
                self._outbox.order(orders.LearnCmdSn(self._kernel_sid))
            case Action.CHECK_DISKS:
                self._outbox.order(orders.CheckDiskUsers(self._kernel_sid))
            case Action.KEEP_IN_USE:
                self._keep_in_use()
            case Action.UNBIND:
                self._unbind()
            case Action.SEND_LOGOUT:
                self._send_logout()
            case Action.DESTROY:
                self._destroy()
            case Action.DESTROY_LATER:
                self._destroy_later()
            case Action.RESTART_LOGIN:
                self._restart_login()
            case Action.CLEAN_UP:
                self._clean_up()
            case _:
                assert_never(action)

    # --- facts: logins --------------------------------------------------------------------------

    def attempt_now(self) -> None:
        """Try at once, however long the pause would still be.

        An attempt that is under way does not count: what it fails of may have been mended since.
        """
        if (self.state, Event.ATTEMPT_DUE) in TRANSITIONS:
            self._outbox.cancel_timer(self._retry_timer)
            self.fire(Event.ATTEMPT_DUE)
        else:
            self._was_asked_meanwhile = True

    def accept_luns(self) -> None:
        """Accept LUNs that are not what they were, if a login has found that: it is in the log."""
        if luns := self._terms.accept_luns():
            named = ", ".join(map(str, luns))
            self._outbox.warn(
                self.log_prefix, f"SIGHUP accepts the identity that LUN {named} has now"
            )
            self._device_links.accept_next(self._kernel_sid, luns)
            self._log_in_again_if_outdated()

    def begin_again(self) -> None:
        """Try at once, and scan if up."""
        self.attempt_now()
        self.scan()

    def end_pause(self) -> None:
        """Try without delay, by way of the timer: a thousand sessions that begin at once would
        make one turn too long."""
        self._portal_backoff.stop_waiting(self.plan.binding)
        self._set_retry_timer(0)

    def portal_answered(self) -> None:
        """The portal that this session waits for has answered: try without delay."""
        self._retry.portal_answered()
        self.end_pause()

    def login_succeeded(self, fact: LoginSucceeded) -> None:
        mismatch = compare_portal_group(self._retry.option, fact, self._reached)
        if mismatch is not None and self.sid is not None:
            # Commands wait for this target, and would be sent to another one.
            self._outbox.order(orders.CloseSocket(fact.job_id))
            self.job_failed(mismatch)
            return
        if mismatch is not None:
            self._outbox.warn(self.log_prefix, str(mismatch))
        self._job, self.login = None, fact
        self._outbox.portal_answered(self._retry.portal)
        self._retry.moved(fact.moved_to)
        self.fire(Event.LOGIN_SUCCEEDED)

    def luns_replaced(self, replaced: tuple[ReplacedLun, ...]) -> None:
        """A login found other logical units behind these LUNs than the kernel had."""
        self._terms.luns_replaced(replaced)

    def job_failed(self, failure: Failure) -> None:
        self._job, self.last_failure = None, failure
        portal = self._retry.portal
        self.fire(Event.LOGIN_FAILED)
        if failure.retry is Retry.SOON:
            self._outbox.portal_failed(portal, failure)
        else:
            self._outbox.portal_answered(portal)

    def job_ended(self) -> None:
        self.job_failed(Failure(Retry.SOON, "the login process ended without a result"))

    # --- facts: the kernel ----------------------------------------------------------------------

    def started(self, fact: SessionStarted) -> None:
        self.sid, self.host_no = fact.sid, fact.host_no
        if self.login is not None:
            self._reached = reached(self.login)
        self.fire(Event.STARTED)

    def refused(self, failure: Failure) -> None:
        """The kernel refused a step of the session."""
        if (self.state, Event.REFUSED) in TRANSITIONS:
            self.last_failure = failure
        self.fire(Event.REFUSED)

    def timeouts_refused(self, failure: Failure) -> None:
        """The kernel keeps the timeouts that it has; the next SIGHUP tries again."""
        self._timeouts_in_kernel = None
        self._outbox.warn(self.log_prefix, f"the timeouts stay as they were: {failure}")

    def cmd_sn_learned(self, fact: CmdSnLearned) -> None:
        self._terms.cmd_sn_learned(fact)
        self.fire(Event.CMD_SN_LEARNED)

    def connection_lost(self, reason: str) -> None:
        if (self.state, Event.CONNECTION_LOST) in TRANSITIONS:
            self.last_failure = Failure(Retry.SOON, reason)
        self.fire(Event.CONNECTION_LOST)

    def unrecoverable(self, reason: str) -> None:
        """The session can never carry I/O again: its disks go, and come anew with the next one."""
        if (self.state, Event.UNRECOVERABLE) in TRANSITIONS:
            self._outbox.error(self.log_prefix, f"the kernel cannot carry the session on: {reason}")
        self.fire(Event.UNRECOVERABLE)

    def asked_to_wait(self, seconds: float) -> None:
        """The target will drop the connection, and names the pause before the next login."""
        self._time2wait = seconds

    def disks_checked(self, uses: tuple[str, ...]) -> None:
        if self.is_wanted:
            return
        event = Event.DISKS_IN_USE if uses else Event.DISKS_UNUSED
        if (self.state, event) in TRANSITIONS:
            self.kept_because = uses
        else:
            # An answer that comes too late is asked for again as soon as it can count.
            self._has_tried_to_leave = False
        self.fire(event)

    def limit_outage(self, seconds: int) -> None:
        """Let I/O fail if the session is down for so long, whatever the settings allow."""
        self._longest_outage = seconds
        self._is_timed_by_kernel = self.state not in OUTAGE
        self._apply_timeouts()

    def give_up_long_outage(self, reason: str) -> None:
        """Do so for an outage that had begun when outages were limited, and lasts."""
        if not self._is_timed_by_kernel:
            self.give_up_outage(reason)

    def give_up_outage(self, reason: str) -> None:
        """End the session if it is down, even if its disks are in use: what waits for it fails."""
        if self.state in OUTAGE:
            self._outbox.error(self.log_prefix, f"given up while its disks wait: {reason}")
            self.fire(Event.UNRECOVERABLE)

    # --- what is wanted -------------------------------------------------------------------------

    def identify_as(self, identity: LoginIdentity) -> None:
        """Take over the initiator's identity; a session that the kernel has keeps its name."""
        keeps_name = self.sid is not None or self.state is State.STARTING
        self._terms.identify_as(identity, keeps_name=keeps_name)

    def wanted(self, plan: PlannedSession) -> None:
        """Keep the session, with these portals and settings, if need be by a new login."""
        self.is_wanted, self.kept_because = True, ()
        self.plan = plan
        self._retry.change_plan(plan)
        self._apply_timeouts()
        self._log_in_again_if_outdated()

    def unwanted(self) -> None:
        """Log out as soon as that can be done without harm."""
        self.is_wanted = self._has_tried_to_leave = False
        self.kept_because = ()
        self._leave_if_possible()

    def adopt(self, seen: KernelSession, isid: Isid, state: State, *, is_scanned: bool) -> None:
        """Take over a session that the kernel has been running all along."""
        self.sid, self.host_no = seen.sid, seen.host_no
        self._terms.adopt(seen.initiator_name, isid)
        self._become(state)
        self._reached = LoginEndpoint(self.portal, self.portal_group_tag)
        # It was started with those of the file as it was then.
        self._apply_timeouts()
        if state is State.DOWN:
            self._set_retry_timer(0)
        elif state is State.UNBINDING:
            self.is_wanted, self._has_tried_to_leave = False, True
            self._arm_timeout()
        self._outbox.info(self.log_prefix, f"adopted, {state.value} ({self.plan.binding})")
        if not is_scanned:
            self.scan()
        elif state is State.UP:
            self.lun_scanner.note_earlier_scan()

    def scan(self, drop: frozenset[int] = frozenset()) -> None:
        """Look for LUNs, if the session is up; ``drop`` those LUNs, which are unused."""
        can_scan = self.is_up and not self._outbox.is_ending
        if can_scan and self.sid is not None and self.host_no is not None:
            self.lun_scanner.ask(self.sid, self.host_no, self.settings, drop)

    # --- actions --------------------------------------------------------------------------------

    def _start_login(self) -> None:
        if self.sid is None:
            self._terms.begin_anew()
        self.next_attempt_at, self._was_asked_meanwhile = None, False
        self._settings_in_force = self._login_settings
        self._job = self._login_job(self._outbox.new_job())
        self._outbox.start(self._job, self)

    def _stop_login(self) -> None:
        if self._job is not None:
            self._outbox.stop(self._job.id)
            self._job = None

    def _retry_later(self) -> None:
        failure = self.last_failure or Failure(Retry.SOON, "the attempt was given up")
        self._outbox.failed(self.log_prefix, str(failure))
        is_kept = self.sid is not None
        delay = self._retry.delay_after_failure(
            failure, self._portal_backoff.waiting_at, is_kept=is_kept
        )
        if delay is None and self._was_asked_meanwhile:
            delay = 0.0
        if delay is None:
            self._outbox.error(self.log_prefix, "giving up until SIGHUP")
            return
        if is_kept or failure.retry is Retry.SOON:
            self._portal_backoff.begin_waiting(self.plan.binding, self._retry.portal)
        self._set_retry_timer(delay)

    def _start_in_kernel(self) -> None:
        assert self.login is not None
        description = self._description(self.login)
        self._outbox.order(orders.StartSession(self.plan.binding, self.login.job_id, description))

    def _resume_in_kernel(self) -> None:
        assert self.login is not None
        description, job = self._description(self.login), self.login.job_id
        self._outbox.order(
            orders.ResumeSession(self.plan.binding, self._kernel_sid, job, description)
        )

    def _mark_up(self) -> None:
        self.last_failure = self._time2wait = None
        self._is_timed_by_kernel = True
        self._terms.luns_verified()
        self._up_since = self._outbox.now
        place = f"{self.plan.binding}, host{self.host_no}"
        self._outbox.info(self.log_prefix, f"session is up ({place})")
        self._apply_timeouts()
        if self.is_wanted:
            self._log_in_again_if_outdated()

    def _mark_down(self) -> None:
        reason = self.last_failure.what if self.last_failure else "logged out to log in again"
        seconds_up = self._outbox.now - self._up_since
        if seconds_up >= STABLE_AFTER:
            self._outbox.recovered(self.log_prefix)
        self._outbox.failed(self.log_prefix, f"session is down: {reason}")
        time2wait = self._time2wait
        if time2wait is None:
            time2wait = self.login.result.parameters.default_time2wait if self.login else 0
        self._set_retry_timer(self._retry.delay_after_loss(seconds_up, time2wait))
        if self._retry.suspects_duplicate_name:
            self._outbox.warn(
                self.log_prefix,
                "each login succeeds and the connection drops again; does another host use the "
                f"InitiatorName {self.initiator_name}?",
            )

    def _keep_in_use(self) -> None:
        uses = ", ".join(self.kept_because)
        log = self._outbox.failed if self.is_kept_in_doubt else self._outbox.warn
        log(self.log_prefix, f"no longer wanted, but its disks are in use: {uses}")

    def _unbind(self) -> None:
        self._give_up_disks()
        self._outbox.order(orders.UnbindSession(self._kernel_sid))
        self._arm_timeout()

    def _send_logout(self) -> None:
        session_tag = replace(self._session_tag, is_logging_out=True)
        self._outbox.order(orders.SendLogout(self._kernel_sid, str(session_tag)))
        self._arm_timeout()

    def _destroy(self) -> None:
        self._outbox.cancel_timer(self._retry_timer)
        self._give_up_disks()
        if self._destroys:
            self._outbox.failed(self.log_prefix, "the kernel has not destroyed the session yet")
        self._destroys += 1
        self._outbox.order(orders.DestroySession(self._kernel_sid))
        self._arm_timeout()

    def _destroy_later(self) -> None:
        what = f"the kernel does not destroy the session: {self.last_failure}"
        self._outbox.failed(self.log_prefix, what)
        self._arm_timeout()

    def _arm_timeout(self) -> None:
        """Limit a step. A session that the kernel does not destroy is tried ever less often."""
        pause = delay_before_retry(Retry.SOON, max(self._destroys, 1), self.isid) or 0.0
        self._outbox.set_timer(self._logout_timer, max(LOGOUT_STEP_LIMIT, pause))

    def _restart_login(self) -> None:
        """The kernel has lost the session: log in as if for the first time."""
        self._give_up_disks()
        self.last_failure = Failure(Retry.SOON, "the kernel has lost the session")
        self.sid = self.host_no = self.login = None
        self._terms.begin_anew()
        self._reached = None
        # Nothing is in use any more; a session that is not wanted leaves now.
        self._has_tried_to_leave, self.kept_because = False, ()
        self._retry_later()

    def _clean_up(self) -> None:
        self._outbox.cancel_timer(self._retry_timer)
        self._outbox.cancel_timer(self._logout_timer)
        if self.sid is not None:
            self._give_up_disks()
            self._outbox.info(self.log_prefix, f"session is gone ({self.plan.binding})")

    # --- what the actions need ------------------------------------------------------------------

    @property
    def _kernel_sid(self) -> int:
        """The kernel's number of the session; the table uses it only in states that have one."""
        assert self.sid is not None, f"{self.log_prefix}: {self.state.name} without a sid"
        return self.sid

    @property
    def _retry_timer(self) -> Timer:
        return Timer(TimerPurpose.RETRY_LOGIN, self.plan.binding)

    @property
    def _logout_timer(self) -> Timer:
        return Timer(TimerPurpose.LOGOUT, self.plan.binding)

    @property
    def _session_tag(self) -> SessionTag:
        plan = self.plan
        return SessionTag(plan.binding, self.isid, plan.found_at, plan.path_name)

    @property
    def _login_settings(self) -> tuple[object, ...]:
        """What only a new login can change of a session that is up."""
        return self.plan.path_name, *login_settings(self.settings)

    def _login_job(self, job: JobId) -> LoginJob:
        retry = self._retry
        login = self._terms.job(job, self.plan.name_to_send, retry.portal, self.settings)
        # The applications of a session that the kernel has wait for its return.
        is_kept = self.sid is not None
        return replace(login, connect_timeout=retry.connect_timeout()) if is_kept else login

    def _log_in_again_if_outdated(self) -> None:
        """Begin a new login if the last one was made with other settings."""
        if self._job is not None:
            if self._login_job(self._job.id) != self._job:
                self._outbox.info(self.log_prefix, "settings changed: beginning the login again")
                self.fire(Event.SETTINGS_CHANGED)
        elif self.is_up and self._login_settings != self._settings_in_force:
            changed = "settings changed that need a new login: logging in again"
            self._outbox.info(self.log_prefix, changed)
            self.fire(Event.SETTINGS_CHANGED)

    def _apply_timeouts(self) -> None:
        """Let the kernel have the timeouts of the file, if it has others."""
        timeouts = kernel_timeouts(self.settings, self._longest_outage)
        if self.sid is not None and timeouts != self._timeouts_in_kernel:
            self._timeouts_in_kernel = timeouts
            self._outbox.order(orders.ApplyTimeouts(self.sid, timeouts))

    def _description(self, login: LoginSucceeded) -> orders.SessionDescription:
        self._timeouts_in_kernel = kernel_timeouts(self.settings, self._longest_outage)
        return orders.SessionDescription(
            target_name=self.plan.name_to_send,
            initiator_name=self.initiator_name,
            portal=self.portal,
            portal_group_tag=login.result.target_portal_group_tag,
            session_tag=str(self._session_tag),
            cmd_sn=login.result.cmd_sn,
            exp_stat_sn=login.result.exp_stat_sn,
            parameters=login.result.parameters,
            timeouts=self._timeouts_in_kernel,
            commands_max=self.settings.commands_max,
            queue_depth=self.settings.queue_depth,
        )

    def _give_up_disks(self) -> None:
        """Scan no more, and remove the links before the kernel frees the device names."""
        self.lun_scanner.stop()
        self._outbox.order(*self._device_links.session_ended(self._kernel_sid))

    def _set_retry_timer(self, delay: float) -> None:
        self.next_attempt_at = self._outbox.now + delay
        self._outbox.debug(self.log_prefix, f"next attempt in {delay:.1f} s")
        self._outbox.set_timer(self._retry_timer, delay)
