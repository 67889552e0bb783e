"""One session: what it knows, and what each fact means for it.

Facts reach it as method calls; each one notes what it brings and fires an event into
``session_table``, whose actions are carried out in ``session_steps``. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.config.settings import SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import (
    CmdSnLearned,
    LoginSucceeded,
    SessionStarted,
    Timer,
    TimerPurpose,
    UnitChange,
)
from iscsid.initiator.attempts import RetryState
from iscsid.initiator.device_links import DeviceLinks
from iscsid.initiator.isid import session_isid
from iscsid.initiator.lun_scanner import LunScanner
from iscsid.initiator.offers import kernel_timeouts, session_offer
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.planning import PlannedSession
from iscsid.initiator.portal_backoff import PortalBackoff
from iscsid.initiator.portal_groups import LoginEndpoint, compare_portal_group, reached
from iscsid.initiator.session_fsm import DISKS_WAIT, MEANINGLESS, TRANSITIONS, Event, State
from iscsid.initiator.session_steps import FIRST_CMD_SN, STEPS, be_patient
from iscsid.jobs import JobId
from iscsid.orders import ApplyTimeouts, CloseSocket
from iscsid.protocol.names import IscsiName
from iscsid.protocol.vpd import LunIdentity


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are to every target, and how long a login may take (seconds, 0 is no limit)."""

    initiator_name: IscsiName
    initiator_alias: str = ""
    login_timeout: float = 60.0


class Session:
    """A session that is wanted, runs, or is on its way out."""

    def __init__(
        self,
        path: PlannedSession,
        identity: Identity,
        outbox: Outbox,
        device_links: DeviceLinks,
        portal_backoff: PortalBackoff,
    ) -> None:
        self.path = path
        self.identity = identity
        self.attempts = RetryState(path)
        self.scans = LunScanner(self)
        self.state = State.WAITING
        self.since = outbox.now
        self.changed_at_turn = outbox.turn
        self.sid: int | None = None
        self.host_no: int | None = None
        self.job: JobId | None = None
        self.login: LoginSucceeded | None = None
        self.last_failure: Failure | None = None
        self.next_attempt_at: float | None = None
        self.is_wanted = True
        self.kept_because: tuple[str, ...] = ()
        self._was_told_to_go = False
        self.outbox = outbox
        self.device_links = device_links
        self.portal_backoff = portal_backoff
        self.isid = session_isid(identity.initiator_name, path.binding)
        self.cmd_sn = FIRST_CMD_SN
        self.identities: tuple[LunIdentity, ...] = ()
        """What the kernel's LUNs must still be before I/O goes on."""
        self.reached: LoginEndpoint | None = None
        self.time2wait: float | None = None
        self.up_since = outbox.now

    @property
    def log_prefix(self) -> str:
        """The prefix of every log line about this session."""
        return f"{self.path.target_name} via {self.attempts.option.portal}"

    @property
    def settings(self) -> SessionSettings:
        return self.attempts.option.settings

    @property
    def has_been_tried(self) -> bool:
        """Whether the session is up with its LUNs looked for, or an attempt has failed."""
        return self.last_failure is not None or self.scans.has_finished

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will happen to a session that nobody wants."""
        return bool(self.kept_because) and self.state in (State.UP, State.DOWN)

    # --- what happened --------------------------------------------------------------------------

    def fire(self, event: Event) -> None:
        """Walk the table. A pair without a row is ``MEANINGLESS`` and changes nothing."""
        row = TRANSITIONS.get((self.state, event))
        if row is None:
            reason = MEANINGLESS[event][1]
            self.outbox.debug(self.log_prefix, f"{event.name} in {self.state.name}: {reason}")
            return
        before, (after, actions) = self.state, row
        if before is not after:
            self._become(after)
            self.outbox.debug(self.log_prefix, f"{before.name} -> {after.name} ({event.name})")
        for action in actions:
            STEPS[action](self)
        self._settle()

    def _become(self, state: State) -> None:
        self.state = state
        self.since, self.changed_at_turn = self.outbox.now, self.outbox.turn
        self.portal_backoff.stop_waiting(self.path.binding)
        self.portal_backoff.note_disks(self.path.binding, wait=state in DISKS_WAIT)

    def end_pause(self) -> None:
        """Try without delay, by way of the timer: a thousand at once shall not be one long turn."""
        self.portal_backoff.stop_waiting(self.path.binding)
        self.set_retry(0)

    def attempt_now(self) -> None:
        """Try at once, whatever pause was running; harmless where no attempt is due."""
        if (self.state, Event.ATTEMPT_DUE) in TRANSITIONS:
            self.outbox.cancel_timer(self.retry_timer)
            self.fire(Event.ATTEMPT_DUE)

    def login_succeeded(self, fact: LoginSucceeded) -> None:
        stranger = compare_portal_group(self.attempts.option, fact, self.reached)
        if stranger is not None and self.sid is not None:
            # Commands wait for this target, and would be sent to another one.
            self.outbox.order(CloseSocket(fact.job_id))
            self.login_failed(stranger)
            return
        if stranger is not None:
            self.outbox.warn(self.log_prefix, str(stranger))
        self.job, self.login = None, fact
        self.attempts.moved(fact.moved_to)
        self.fire(Event.LOGIN_SUCCEEDED)

    def login_failed(self, failure: Failure) -> None:
        self.job, self.last_failure = None, failure
        if failure.retry is Retry.SOON:
            self.outbox.portal_failed(self.attempts.portal)
        self.fire(Event.LOGIN_FAILED)

    def started(self, fact: SessionStarted) -> None:
        self.sid, self.host_no = fact.sid, fact.host_no
        if self.login is not None:
            self.reached = reached(self.login)
        self.fire(Event.STARTED)

    def refused(self, failure: Failure) -> None:
        self.last_failure = failure
        self.fire(Event.REFUSED)

    def cmd_sn_learned(self, fact: CmdSnLearned) -> None:
        self.cmd_sn, self.identities = fact.cmd_sn, fact.identities
        self.fire(Event.CMD_SN_LEARNED)

    def broke(self, reason: str) -> None:
        if (self.state, Event.CONNECTION_LOST) in TRANSITIONS:
            self.last_failure = Failure(Retry.SOON, reason)
        self.fire(Event.CONNECTION_LOST)

    def doomed(self, reason: str) -> None:
        """Nothing can bring the session back: its disks go, and come anew with another one."""
        if (self.state, Event.UNRECOVERABLE) in TRANSITIONS:
            self.outbox.error(self.log_prefix, f"the kernel cannot carry the session on: {reason}")
        self.fire(Event.UNRECOVERABLE)

    def asked_to_stay_away(self, seconds: float) -> None:
        """The target said how long to wait after it drops the connection."""
        self.time2wait = seconds

    def disks_checked(self, uses: tuple[str, ...]) -> None:
        if self.is_wanted:
            return
        event = Event.DISKS_IN_USE if uses else Event.DISKS_UNUSED
        if (self.state, event) in TRANSITIONS:
            self.kept_because = uses
        else:
            # An answer that comes too late is asked for again as soon as it can count.
            self._was_told_to_go = False
        self.fire(event)

    # --- what is wanted -------------------------------------------------------------------------

    def wanted(self, path: PlannedSession) -> None:
        """Keep the session, with these portals and settings.

        A live session takes over at once what it can; the rest needs a new login, and gets it.
        """
        self.is_wanted, self.kept_because = True, ()
        old, is_same_path = self.settings, self.path.name == path.name
        self.path = path
        self.attempts.change_path(path)
        new = self.settings
        if self.sid is None:
            return
        if kernel_timeouts(old) != kernel_timeouts(new):
            self.outbox.order(ApplyTimeouts(self.sid, kernel_timeouts(new)))
        needs_login = not is_same_path or _login_settings(old) != _login_settings(new)
        if self.state is State.UP and needs_login:
            self.outbox.info(
                self.log_prefix, "settings changed that need a new login: logging in again"
            )
            self.fire(Event.LOGOUT_REQUESTED)

    def unwanted(self) -> None:
        """Log out as soon as that can be done without harm."""
        self.is_wanted = self._was_told_to_go = False
        self._settle()

    def adopt(self, sid: int, host_no: int, state: State) -> None:
        """Take over a session that the kernel has been running all along."""
        self.sid, self.host_no = sid, host_no
        self._become(state)
        self.reached = LoginEndpoint(
            self.attempts.option.portal, self.attempts.option.portal_group_tag
        )
        if state is State.DOWN:
            self.set_retry(0)
        elif state is State.UNBINDING:
            self.is_wanted, self._was_told_to_go = False, True
            be_patient(self)

    def scan(self, drop: frozenset[int] = frozenset()) -> None:
        """Look for LUNs, where there is a connection to look through; ``drop`` the unused ones."""
        if self.state is State.UP and self.sid is not None and self.host_no is not None:
            self.scans.ask(self.sid, self.host_no, self.settings, drop)

    def unit_attention(self, lun: int, change: UnitChange) -> None:
        """A logical unit has said that something has changed: look what it is."""
        if self.scans.job is None:
            self.outbox.info(self.log_prefix, f"LUN {lun} says: {change.value}; scanning")
        self.scan()

    # --- what the steps need ----------------------------------------------------------------------

    @property
    def kernel_sid(self) -> int:
        """The kernel's number of the session; the table asks for it only where there is one."""
        assert self.sid is not None, (
            f"{self.log_prefix}: {self.state.name} without a kernel session"
        )
        return self.sid

    @property
    def retry_timer(self) -> Timer:
        return Timer(TimerPurpose.RETRY_LOGIN, self.path.binding)

    @property
    def logout_timer(self) -> Timer:
        return Timer(TimerPurpose.LOGOUT, self.path.binding)

    def set_retry(self, delay: float) -> None:
        self.next_attempt_at = self.outbox.now + delay
        self.outbox.debug(self.log_prefix, f"next attempt in {delay:.1f} s")
        self.outbox.set_timer(self.retry_timer, delay)

    def _settle(self) -> None:
        """Act on a wish to leave as soon as the state allows it, once."""
        may_go = (self.state, Event.UNWANTED) in TRANSITIONS
        if not self.is_wanted and not self._was_told_to_go and may_go:
            self._was_told_to_go = True
            self.fire(Event.UNWANTED)


def _login_settings(settings: SessionSettings) -> tuple[object, ...]:
    """Return what only a new login can change."""
    return session_offer(settings), settings.authentication, settings.tcp_window_size
