"""The initiator: facts go in, one at a time, and orders come out.

``Initiator.handle`` is the only way in. Facts about files, from workers and from the kernel are
handled in ``on_files``, ``on_workers`` and ``on_kernel``; signals and timers, which begin and end
things, are handled here. Here, too, is decided what counts while the daemon is ending. Pure.
"""

from __future__ import annotations

from typing import assert_never

from iscsid import facts
from iscsid.errors import Failure, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import (
    DiskJobFact,
    Fact,
    FileFact,
    KernelFact,
    SignalFact,
    Timer,
    TimerPurpose,
    WorkerFact,
)
from iscsid.initiator.on_files import OnFiles
from iscsid.initiator.on_kernel import OnKernel
from iscsid.initiator.on_workers import OnWorkers
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.reconciler import Reconciler
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event
from iscsid.orders import Leave, Order, ReadConfiguration
from iscsid.protocol.names import Portal

DOUBTS_AT_THE_END = 20.0
"""Seconds after SIGINT in which disks of which nothing could be found out are checked again: what
holds a disk that has just gone may end."""
POWER_DOWN = Timer(TimerPurpose.POWER_DOWN)
OUTAGE_AT_POWER_DOWN = 30
"""Seconds: a target that only starts again is back by then, and a person who waits for the machine
to go down has not yet cut its power."""
MACHINE_GOES_DOWN = "the machine goes down, and the target does not answer"
NETWORK = Timer(TimerPurpose.NETWORK)
NETWORK_SETTLES = 1.0
"""Seconds: an address comes before its route, and duplicate address detection takes its time."""
NETWORK_REST = 10.0
"""Seconds at least between two rounds of attempts that the network's changes bring about."""

BEGINNINGS = frozenset(
    {
        TimerPurpose.RETRY_DISCOVERY,
        TimerPurpose.RETRY_LOGIN,
        TimerPurpose.RETRY_PORTAL,
        TimerPurpose.SCAN,
        TimerPurpose.NETWORK,
    }
)
"""Timers whose end begins an attempt or a scan."""


class Initiator:
    """All decisions of the daemon.

    At the start come ``ConfigurationRead``, ``BindingsRead`` and ``SessionsFound``, in this
    order; nothing is begun before the third, so that no session is started twice.
    """

    def __init__(self, *, login_timeout: float, max_processes: int, bindings_file: str) -> None:
        self._outbox = Outbox(max_processes)
        self.reconciler = Reconciler(self._outbox)
        self._on_kernel = OnKernel(self.reconciler)
        self._on_workers = OnWorkers(self.reconciler)
        self._on_files = OnFiles(
            self.reconciler, login_timeout=login_timeout, bindings_file=bindings_file
        )
        self._is_powering_down = False
        self._checked: list[Session] = []
        """All sessions, if the disks of all were last checked together while the daemon ends."""
        self._may_doubt_until = 0.0
        self._network_settles = False
        self._network_tried_at = -NETWORK_REST

    def handle(self, fact: Fact, now: float) -> list[Order]:
        """Take note of ``fact`` at ``now`` (monotonic, seconds); return what shall be done."""
        self._outbox.begin(now)
        if self._outbox.is_ending and self._is_too_late(fact):
            return self._outbox.take()
        if isinstance(fact, SignalFact):
            self._handle_signal(fact)
        elif isinstance(fact, WorkerFact):
            self._on_workers.handle(fact)
        elif isinstance(fact, KernelFact):
            self._on_kernel.handle(fact)
        elif isinstance(fact, FileFact):
            self._on_files.handle(fact)
        elif isinstance(fact, DiskJobFact):
            raise TypeError(f"{type(fact).__name__} is for process.disk_work")
        else:
            assert_never(fact)
        if self._outbox.is_ending:
            self._leave_when_done()
        return self._outbox.take()

    @property
    def status(self) -> str:
        """How the daemon is, in one line."""
        sessions = list(self.reconciler.sessions)
        up = sum(session.is_up for session in sessions)
        return f"{up} of {len(sessions)} session{'' if len(sessions) == 1 else 's'} up"

    # --- signals --------------------------------------------------------------------------------

    def _handle_signal(self, fact: SignalFact) -> None:
        match fact:
            case facts.HangupReceived():
                self._hangup_received()
            case facts.TerminateReceived():
                self._outbox.info("", "SIGTERM: leaving; the sessions stay in the kernel")
                self._leave(ExitStatus.SUCCESS)
            case facts.InterruptReceived():
                self._interrupt_received()
            case facts.PowerDownReceived():
                self._power_down_received()
            case facts.NetworkChanged():
                self._network_changed()
            case facts.TimerExpired(timer):
                self._timer_expired(timer)
            case _:
                assert_never(fact)

    def _hangup_received(self) -> None:
        self._outbox.info("", "SIGHUP: reading the configuration, discovering and scanning again")
        # What is found while the files are read has not been logged when the signal is sent.
        self._outbox.order(*self.reconciler.device_links.accept())
        for session in self.reconciler.sessions:
            session.accept_luns()
        self._outbox.order(ReadConfiguration())

    # --- the end --------------------------------------------------------------------------------

    def _is_too_late(self, fact: Fact) -> bool:
        """Whether ``fact`` would begin something, now that the daemon is ending.

        The files that SIGHUP has read may arrive here after a SIGINT that came with it. What an
        ending session would begin by itself, a scan for instance, it asks the outbox before.
        """
        match fact:
            case facts.HangupReceived():
                self._outbox.info("", "SIGHUP: too late, all sessions are being logged out")
                return True
            case facts.ConfigurationRead() | facts.NetworkChanged():
                return True
            case facts.TimerExpired(timer):
                return timer.purpose in BEGINNINGS
        return False

    def _interrupt_received(self) -> None:
        if self._outbox.is_ending:
            self._leave_at_once()
            return
        self._outbox.info("", "SIGINT: logging out all sessions, then leaving")
        self._outbox.is_ending = True
        self._may_doubt_until = self._outbox.now + DOUBTS_AT_THE_END
        if self._is_powering_down:
            # What can be unmounted is unmounted by now, and nothing comes after this.
            for session in self.reconciler.sessions:
                session.give_up_outage(MACHINE_GOES_DOWN)
        for discovery in self.reconciler.targets.discoveries.values():
            discovery.stop()
        for session in self.reconciler.sessions:
            session.lun_scanner.stop()
        self._check_sessions()

    def _check_sessions(self) -> None:
        """Let each session log out whose disks are not in use (any more)."""
        for session in self.reconciler.sessions:
            session.unwanted()
        left = list(self.reconciler.sessions)
        self._checked = left if all(session.is_being_checked for session in left) else []

    def _power_down_received(self) -> None:
        """Let no file system that has to be unmounted wait for a target that is gone.

        The kernel fails the I/O of a session that goes down from now on. For one that is down
        already it does not measure the time, so that the session has to be destroyed.
        """
        if self._is_powering_down:
            return
        self._is_powering_down = True
        seconds = OUTAGE_AT_POWER_DOWN
        self._outbox.info("", f"SIGPWR: what waits for a target that is down fails in {seconds} s")
        self.reconciler.limit_outages(seconds)
        self._outbox.set_timer(POWER_DOWN, seconds)

    def _leave_when_done(self) -> None:
        left = list(self.reconciler.sessions)
        if not all(session.is_settled for session in left):
            return
        if left and left != self._checked:
            # Others were logged out, or went another step, since these were checked.
            self._check_sessions()
            return
        if self._outbox.now < self._may_doubt_until and any(s.is_kept_in_doubt for s in left):
            return
        self._leave(ExitStatus.SESSIONS_LEFT if left else ExitStatus.SUCCESS)

    def _leave_at_once(self) -> None:
        """Wait for no logout any more; the next start finishes those that have begun."""
        left = len(self.reconciler.sessions)
        sessions = "1 session stays" if left == 1 else f"{left} sessions stay"
        self._outbox.warn("", f"SIGINT again: leaving at once, {sessions} in the kernel")
        self._leave(ExitStatus.SESSIONS_LEFT)

    def _leave(self, status: ExitStatus) -> None:
        """Leave, with one last attempt to save bindings that are not saved."""
        self.reconciler.save_bindings()
        self._outbox.order(Leave(status))

    # --- timers ---------------------------------------------------------------------------------

    def _timer_expired(self, timer: Timer) -> None:
        purpose, subject = timer.purpose, timer.subject
        if purpose is TimerPurpose.CHECK_KERNEL:
            self._on_kernel.look()
        elif purpose is TimerPurpose.NETWORK:
            self._try_what_was_unreachable()
        elif purpose is TimerPurpose.POWER_DOWN:
            for each in self.reconciler.sessions:
                each.give_up_long_outage(MACHINE_GOES_DOWN)
        elif purpose is TimerPurpose.CHECK_DISKS:
            self._on_kernel.check_doubts()
        elif purpose is TimerPurpose.SUMMARY:
            self._outbox.summarise()
        elif purpose is TimerPurpose.SAVE_BINDINGS:
            self.reconciler.save_bindings()
        elif purpose is TimerPurpose.MAKE_LINKS:
            self._on_files.make_links()
        elif purpose is TimerPurpose.RETRY_PORTAL and isinstance(subject, Portal):
            self.reconciler.portal_holdoff_over(subject)
        elif isinstance(subject, Portal):
            discovery = self.reconciler.targets.discoveries.get(subject)
            if discovery is not None:
                discovery.ask()
        elif subject is not None:
            session = self.reconciler.sessions.get(subject)
            if session is not None:
                self._session_timer_expired(session, purpose)

    def _session_timer_expired(self, session: Session, purpose: TimerPurpose) -> None:
        if purpose is TimerPurpose.RETRY_LOGIN:
            session.attempt_now()
        elif purpose is TimerPurpose.SCAN:
            session.scan()
        else:
            session.fire(Event.TIMED_OUT)

    # --- the network ----------------------------------------------------------------------------

    def _network_changed(self) -> None:
        """Let the network settle, then try; however often it changes, not more than that often."""
        if not self._network_settles:
            self._network_settles = True
            quiet = self._network_tried_at + NETWORK_REST - self._outbox.now
            self._outbox.set_timer(NETWORK, max(NETWORK_SETTLES, quiet))

    def _try_what_was_unreachable(self) -> None:
        self._network_settles, self._network_tried_at = False, self._outbox.now
        self._outbox.debug("", "the network has changed: trying again what was unreachable")
        for discovery in self.reconciler.targets.discoveries.values():
            if _was_unreachable(discovery.last_failure):
                discovery.ask()
        self.reconciler.network_has_changed()


def _was_unreachable(failure: Failure | None) -> bool:
    return failure is not None and failure.retry is Retry.SOON
