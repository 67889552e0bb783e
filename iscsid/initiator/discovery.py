"""One DiscoveryAddress: when it is asked, and which targets it has reported. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from iscsid.config.settings import DiscoverySettings
from iscsid.errors import Failure, Retry
from iscsid.facts import DiscoveryCompleted, Timer, TimerPurpose
from iscsid.initiator.isid import discovery_isid
from iscsid.initiator.offers import LoginIdentity, discovery_offer
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.retry import STABLE_AFTER, delay_before_retry
from iscsid.jobs import DiscoveryJob, JobId
from iscsid.orders import AskAgain
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.protocol.parameters import Isid, LoginPlan


class DiscoveryState(Enum):
    WAITING = "waiting"
    """For a timer, for SIGHUP, or for a free worker."""
    ASKING = "asking"
    LOGGED_IN = "logged in"
    """The worker stays logged in and reports when something changes."""


class Discovery:
    """The knowledge gained at one DiscoveryAddress.

    ``targets`` holds the last complete answer, together with targets of earlier answers: a target
    that is missing from one answer keeps its session until an answer to SIGHUP confirms that.
    """

    def __init__(
        self,
        settings: DiscoverySettings,
        identity: LoginIdentity,
        outbox: Outbox,
        when_failed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.state = DiscoveryState.WAITING
        self.since = outbox.now
        self.targets: dict[IscsiName, DiscoveryRecord] = {}
        self.answered_at: Portal | None = None
        """The address where the last answer came from, if ``settings.portal`` is a host name."""
        self._namesakes: dict[IscsiName, dict[str, DiscoveryRecord]] = {}
        """Targets of one answer whose names differ in capitals only, by their spelling."""
        self._new_namesakes: dict[IscsiName, dict[str, DiscoveryRecord]] = {}
        self.job: JobId | None = None
        self.failures = 0
        self.last_failure: Failure | None = None
        self.next_attempt_at: float | None = None
        self.has_answered = False
        self.keeps_sessions = True
        """Whether the target lets a discovery session live on after its answer."""
        self._noted: frozenset[str] = frozenset()
        """What was odd in the last answer."""
        self._answer: dict[IscsiName, DiscoveryRecord] = {}
        self.has_confirmed = False
        """Whether an answer has replaced all that was known (SIGHUP), and nothing is asked now."""
        self._prune = False
        self._again = False
        """Whether it was asked for after the attempt under way had begun, or the answer to
        ``AskAgain`` has yet to come."""
        self._outbox = outbox
        self._when_failed = when_failed

    @property
    def log_prefix(self) -> str:
        return f"discovery at {self.settings.portal}"

    @property
    def has_been_tried(self) -> bool:
        return self.has_answered or self.last_failure is not None

    def ask(self, *, prune: bool = False) -> None:
        """Ask now. With ``prune`` the answer replaces all that is known (SIGHUP)."""
        self._prune = self._prune or prune
        self.has_confirmed = self.has_confirmed and not prune
        if self.state is DiscoveryState.WAITING:
            self._outbox.cancel_timer(self._timer)
            self._start()
            return
        self._again = True
        if self.state is DiscoveryState.LOGGED_IN and self.job is not None:
            self._outbox.order(AskAgain(self.job))

    def change(self, settings: DiscoverySettings, identity: LoginIdentity) -> None:
        """Take over other settings; a running job ends, since it works with the old ones."""
        if (settings, identity) == (self.settings, self.identity):
            return
        self.settings, self.identity = settings, identity
        self.stop()

    def stop(self) -> None:
        self._outbox.cancel_timer(self._timer)
        if self.job is not None:
            self._outbox.stop(self.job)
        self._rest()

    # --- what the worker reported ---------------------------------------------------------------

    def reported(self, record: DiscoveryRecord) -> None:
        """Take one target of an answer; a later record of the same target replaces it."""
        name = record.target_name
        first = self._answer.setdefault(name, record)
        if first.spelling == record.spelling:
            self._answer[name] = record
        if first.spelling != record.spelling or name in self._new_namesakes:
            namesakes = self._new_namesakes.setdefault(name, {first.name_to_send: first})
            namesakes[record.name_to_send] = record

    def record(self, target_name: IscsiName, spelling: str) -> DiscoveryRecord | None:
        """Return what was reported of a target; ``spelling`` chooses among names that differ in
        capitals only."""
        namesakes = self._namesakes.get(target_name, {})
        return namesakes.get(spelling) or self.targets.get(target_name)

    def completed(self, fact: DiscoveryCompleted) -> set[IscsiName]:
        """Take the answer for all that there is, or add it to what is known (see the class).

        Return the names of the targets whose sessions may have to change.
        """
        # A target that has itself asked again and again does not fill the log.
        for note in fact.notes if self._prune else [n for n in fact.notes if n not in self._noted]:
            self._outbox.warn(self.log_prefix, note)
        self._noted = frozenset(fact.notes)
        self._namesakes, self._new_namesakes = self._new_namesakes, {}
        for namesakes in self._namesakes.values():
            spellings = " and ".join(sorted(namesakes))
            self._outbox.error(
                self.log_prefix,
                f"{spellings} are one name to iSCSI: only one of these targets is used, the one "
                "that was used before; give the other one another name",
            )
        self.answered_at = fact.answered_at
        before, answer = self.targets, self._answer
        # Asked for after this answer had begun: only the next one is complete as of now.
        is_late = self._again and self.state is DiscoveryState.ASKING
        prune = self._prune and not is_late
        if not prune:
            answer = {name: before[name] for name in before if name not in answer} | answer
        if not self.has_answered or answer != before:
            self._outbox.info(
                self.log_prefix, f"{len(answer)} target{'' if len(answer) == 1 else 's'}"
            )
        self.has_confirmed, self._prune = prune, self._prune and is_late
        self.targets, self._answer, self._again = answer, {}, is_late
        self.has_answered, self.last_failure = True, None
        self._outbox.recovered(self.log_prefix)
        if fact.kept:
            self._become(DiscoveryState.LOGGED_IN)
            self._outbox.release(fact.job_id)
            if is_late:
                self._outbox.order(AskAgain(fact.job_id))
        return before.keys() | answer.keys()

    def job_failed(self, failure: Failure) -> None:
        """Forget what came of an answer, and try again after the delay of the retry table."""
        self.last_failure = failure
        self._outbox.failed(self.log_prefix, str(failure))
        self._rest()
        self.failures += 1
        final = failure.retry is Retry.NEVER and self.has_answered
        retry = Retry.LATER if final else failure.retry
        delay = delay_before_retry(retry, self.failures, self._isid)
        if self._again:
            # Asked for after the attempt had begun: what it failed of may have been mended since.
            self._start()
        elif delay is None:
            self._outbox.error(self.log_prefix, "giving up until SIGHUP")
        else:
            self._set_timer(delay)
        self._when_failed()

    def job_ended(self) -> None:
        """The worker is gone after its last report."""
        if self.state is DiscoveryState.WAITING:
            return
        was_logged_in = self.state is DiscoveryState.LOGGED_IN
        was_stable = self._outbox.now - self.since >= STABLE_AFTER
        self._rest()
        if self._again:
            self._start()
        elif was_logged_in and was_stable:
            self.failures = 0
            self._set_timer(delay_before_retry(Retry.SOON, 1, self._isid) or 0.0)
        elif was_logged_in:
            self.keeps_sessions = False
            self._outbox.info(self.log_prefix, "the target does not keep discovery sessions")
            self._poll_later()
        else:
            self.failures = 0
            self._poll_later()

    # --- helpers --------------------------------------------------------------------------------

    @property
    def _timer(self) -> Timer:
        return Timer(TimerPurpose.RETRY_DISCOVERY, self.settings.portal)

    @property
    def _login_identity(self) -> LoginIdentity:
        return self.identity.named(self.settings.initiator_name)

    @property
    def _isid(self) -> Isid:
        return discovery_isid(self._login_identity.initiator_name, self.settings.portal)

    def _start(self) -> None:
        self.job = self._outbox.new_job()
        self._answer, self._new_namesakes, self._again = {}, {}, False
        self.next_attempt_at = None
        portal, identity = self.settings.portal, self._login_identity
        job = DiscoveryJob(
            id=self.job,
            portal=portal,
            login=LoginPlan(
                initiator_name=identity.initiator_name,
                initiator_alias=identity.initiator_alias,
                target_name=None,
                isid=self._isid,
                authentication=self.settings.authentication,
                offer=discovery_offer(self.settings),
            ),
            timeouts=self.settings.timeouts,
            socket_options=self.settings.socket_options,
            deadline=identity.login_timeout,
            keep=self.settings.continuous and self.keeps_sessions,
        )
        self._become(DiscoveryState.ASKING)
        self._outbox.start(job, self)

    def _poll_later(self) -> None:
        if self.settings.poll_interval:
            self._set_timer(self.settings.poll_interval)

    def _set_timer(self, delay: float) -> None:
        self.next_attempt_at = self._outbox.now + delay
        self._outbox.debug(self.log_prefix, f"asking again in {delay:.1f} s")
        self._outbox.set_timer(self._timer, delay)

    def _rest(self) -> None:
        self.job = None
        self._become(DiscoveryState.WAITING)

    def _become(self, state: DiscoveryState) -> None:
        if state is not self.state:
            self.state, self.since = state, self._outbox.now
