"""A world around the initiator: a virtual clock, targets that come and go, workers that die.

The same seed always gives the same course of events. ``World`` carries out orders by deciding what
happens next; nothing here sleeps, forks or opens anything.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from random import Random

from iscsid import facts, orders
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings, SessionSettings
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact, Timer
from iscsid.initiator.initiator import OUTAGE_AT_POWER_DOWN, Initiator
from iscsid.initiator.offers import login_settings
from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob, ScanJob
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from tests.simulation.simulated_kernel import Kernel
from tests.support.jobs import login_result

HOST = IscsiName("iqn.2024-01.org.example:host")
PLACES = 4
IN_STEPS = (
    orders.StartSession,
    orders.ResumeSession,
    orders.LearnCmdSn,
    orders.SendLogout,
    orders.DestroySession,
)
"""The orders that take several requests to the kernel, or leave something half done as one."""
BEGINNINGS = (
    orders.StartWorker,
    orders.AskAgain,
    orders.LearnCmdSn,
    orders.StartSession,
    orders.ResumeSession,
    orders.ReadConfiguration,
)
"""Orders that an ending daemon must not give."""
KILLED = -9
LOGOUT_RESPONSE = bytes([0x26, 0x80]) + bytes(46)
LOGOUT_WANTED = bytes([0x32, 0x80]) + bytes(34) + bytes([1]) + bytes(11)
"""An Asynchronous Message whose AsyncEvent, octet 36, is 1."""


def uses_of(lun: int) -> tuple[str, ...]:
    """Every other disk stays mounted."""
    return (f"LUN {lun} is mounted",) if lun % 2 else ()


def target(number: int) -> IscsiName:
    return IscsiName(f"iqn.2024-01.org.example:t{number}")


@dataclass
class Array:
    """One array: an address, the targets behind it, and whether it answers."""

    portal: Portal
    targets: set[IscsiName]
    is_healthy: bool = True


@dataclass
class World:
    seed: int
    arrays: int = 2
    targets_each: int = 3
    failure_rate: float = 0.0
    keeps_discovery: bool = False
    coincidence: float = 2.0
    """Seconds before its time that a timer may expire together with a fact."""
    now: float = 1000.0
    attempts: list[tuple[float, IscsiName]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    refusals: tuple[Retry, ...] = (Retry.LATER,)
    """What a refused login means for the next attempt; one of them each time."""
    check_takes: float = 0.0
    """Seconds from the check of a session's disks to its answer, at most."""
    settings: SessionSettings = SessionSettings()
    """The settings in the file, for all targets."""
    initiator_name: IscsiName = HOST
    initiator_alias: str = ""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.kernel = Kernel(self.random, self.failure_rate)
        self.all = [
            Array(
                Portal(f"192.0.2.{a + 1}"), {target(a * 10 + n) for n in range(self.targets_each)}
            )
            for a in range(self.arrays)
        ]
        self.configured = [array.portal for array in self.all]
        self.bindings = ""
        self.left: int | None = None
        self.logins: dict[JobId, LoginJob] = {}
        """Every login that this daemon has ordered."""
        self.signals: list[Fact] = []
        """What arrives together with the next fact, and is handled right after it."""
        self.facts_handled = 0
        self.orders_left = 0
        """Orders until the daemon is killed; none, or less than that: it lives on."""
        self.fatal: type[Order] | None = None
        """The kind of order during which it is killed, whenever that comes."""
        self._tick = itertools.count()
        self.begin()

    # --- the daemon's life ----------------------------------------------------------------------

    def begin(self) -> None:
        """Start the daemon: everything it knew is gone, the kernel's sessions are not."""
        self.initiator = Initiator(login_timeout=60, max_processes=PLACES, bindings_file="bindings")
        self.agenda: list[tuple[float, int, Fact]] = []
        self.timers: dict[Timer, float] = {}
        self.running: dict[JobId, Job] = {}
        self.sockets: set[JobId] = set()
        self.left = None
        self.interrupts = 0
        self.powered_down_at: float | None = None
        self.logins.clear()
        self.signals = []
        for running in self.kernel.sessions.values():
            # A daemon that starts does not know with which settings an earlier one logged in.
            running.settings = login_settings(self.settings)
        self.handle(self.configuration())
        self.handle(facts.BindingsRead(self.bindings))
        self.handle(self.kernel.look())

    def configuration(self) -> facts.ConfigurationRead:
        settings = self.settings

        def resolve(_name: IscsiName, _portal: Portal, _at: Portal | None) -> SessionSettings:
            return settings

        discoveries = tuple(DiscoverySettings(portal=portal) for portal in self.configured)
        configuration = Configuration(discoveries=discoveries, resolver=resolve)
        return facts.ConfigurationRead(configuration, self.initiator_name, self.initiator_alias)

    def handle(self, fact: Fact) -> None:
        """Let the initiator handle a fact, and whatever comes of it at once.

        Signals that wait, and now and then a timer, come with it: they are handled before what
        comes of it.
        """
        queue = [fact, *self.signals]
        self.signals = []
        is_near = min(self.timers.values(), default=inf) < self.now + self.coincidence
        if is_near and self.random.random() < 0.5:
            queue.append(self._expire_nearest())
        while queue and self.left is None:
            self.facts_handled += 1
            fact = queue.pop(0)
            self.interrupts += isinstance(fact, facts.InterruptReceived)
            if isinstance(fact, facts.PowerDownReceived) and self.powered_down_at is None:
                self.powered_down_at = self.now
            for order in self.initiator.handle(fact, self.now):
                assert not (self.interrupts and isinstance(order, BEGINNINGS)), order
                self.orders_left -= 1
                if self.orders_left == 0 or type(order) is self.fatal:
                    self.die_during(order)
                    return
                queue += self.carry_out(order)
        if self.left is None:
            self.check_that_no_session_is_lost()

    def check_that_no_session_is_lost(self) -> None:
        """Every session of the daemon's that the kernel has is known to the initiator."""
        reconciler = self.initiator.reconciler
        for sid, running in self.kernel.sessions.items():
            if reconciler.has_begun and running.has_life:
                assert reconciler.sessions.with_sid(sid) is not None, f"session {sid} is lost"

    def die_during(self, order: Order) -> None:
        """Kill -9, in the middle of an order: some of it may have been done."""
        match order:
            case orders.StartSession():
                self.kernel.start_half(order)
            case orders.ResumeSession(_, sid) | orders.LearnCmdSn(sid):
                self.kernel.resume_half(sid)
            case orders.SendLogout(sid, session_tag):
                self.kernel.send_logout(sid, session_tag)
            case orders.DestroySession(sid):
                self.kernel.destroy_half(sid, is_given_up=self.is_given_up(sid))
        self.log.append(f"{self.now:.1f} killed during {order}")
        self.left = KILLED

    def later(self, delay: float, fact: Fact) -> None:
        heapq.heappush(self.agenda, (self.now + delay, next(self._tick), fact))

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self.now + seconds
        while self.left is None:
            timer = min(self.timers, key=self.timers.__getitem__, default=None)
            at_timer = self.timers[timer] if timer else float("inf")
            at_agenda = self.agenda[0][0] if self.agenda else float("inf")
            if min(at_timer, at_agenda) > end:
                break
            if timer is not None and at_timer <= at_agenda:
                self.handle(self._expire_nearest())
            else:
                at, _, fact = heapq.heappop(self.agenda)
                self.now = max(self.now, at)
                self._take_place(fact)
        self.now = max(self.now, end)  # a timer may have expired before its time

    def _expire_nearest(self) -> facts.TimerExpired:
        timer = min(self.timers, key=self.timers.__getitem__)
        self.now = max(self.now, self.timers.pop(timer))
        return facts.TimerExpired(timer)

    # --- orders ---------------------------------------------------------------------------------

    def carry_out(self, order: Order) -> list[Fact]:
        match order:
            case orders.StartWorker(job):
                return self._start(job)
            case orders.StopWorker(job_id):
                if not self._sleeps_in_kernel(job_id):
                    self._end(job_id, delay=0.1)
            case orders.AskAgain(job_id):
                self.later(self.random.uniform(0.01, 3.0), _Done(job_id))  # type: ignore[arg-type]
            case orders.CloseSocket(job_id):
                self.sockets.discard(job_id)
            case orders.StartSession():
                self._take(order.job_id)
                return [self.kernel.start(order, self.logins[order.job_id], self.now)]
            case orders.ResumeSession():
                self._take(order.job_id)
                return [self.kernel.resume(order, self.logins[order.job_id])]
            case orders.ApplyTimeouts(sid, timeouts):
                return _some(self.kernel.apply_timeouts(sid, timeouts))
            case orders.LearnCmdSn(sid):
                self._note_up(sid)
                return [self.kernel.learn_cmd_sn(sid)]
            case orders.CheckDiskUsers(sid):
                answer = self.kernel.check_disks(sid)
                if not self.check_takes:
                    return [answer]
                self.later(self.random.uniform(0, self.check_takes), answer)
            case orders.CheckLunUsers(sid, luns):
                return [facts.LunUsersChecked(sid, tuple((lun, uses_of(lun)) for lun in luns))]
            case orders.UnbindSession(sid):
                self.later(0.5, facts.SessionUnbound(sid))
                return _some(self.kernel.unbind(sid))
            case orders.SendLogout(sid, session_tag):
                refusal = self.kernel.send_logout(sid, session_tag)
                if refusal is None and self.random.random() < 0.8:
                    self.later(0.2, facts.PduReceived(sid, LOGOUT_RESPONSE, b""))
                return _some(refusal)
            case orders.DestroySession(sid):
                refusal = self.kernel.destroy(sid, is_given_up=self.is_given_up(sid))
                if refusal is None and self.random.random() >= self.failure_rate:
                    self.later(0.1, facts.SessionDestroyed(sid))
                return _some(refusal)
            case orders.ListSessions(turn):
                return [replace(self.kernel.look(), turn=turn)]
            case orders.ReadConfiguration():
                return [facts.BindingsRead(self.bindings), self.configuration()]
            case orders.SaveBindings(text):
                self.bindings = text
                return [facts.BindingsSaved()]
            case orders.SetTimer(timer, at):
                self.timers[timer] = at
            case orders.CancelTimer(timer):
                self.timers.pop(timer, None)
            case orders.Log():
                self.log.append(
                    f"{self.now:.1f} {order.level.value} {order.log_prefix}: {order.text}"
                )
            case orders.Leave(status):
                self.left = status
                if self.interrupts == 1:
                    left = [each for each in self.kernel.sessions.values() if each.has_life]
                    for each in left:
                        in_use = each.in_use or self.now - each.unused_since <= self.check_takes
                        assert in_use, "left a session that is unused"
                    known = len(self.initiator.reconciler.sessions)
                    assert status == (3 if known else 0) and (known or not left)
        return []

    def _start(self, job: Job) -> list[Fact]:
        assert job.id not in self.running
        self.running[job.id] = job
        if isinstance(job, LoginJob):
            self.logins[job.id] = job
            assert job.login.target_name is not None
            self.attempts.append((self.now, job.login.target_name))
        delay = self.random.uniform(0.01, 3.0)
        if self.random.random() < self.failure_rate:
            self._end(job.id, delay, Failure(Retry.SOON, "killed by SIGKILL"))
        else:
            self.later(delay, _Done(job.id))  # type: ignore[arg-type]
        return []

    def _end(self, job: JobId, delay: float, how: Failure | None = None) -> None:
        self.later(delay, facts.WorkerEnded(job, how))

    def _take(self, job: JobId) -> None:
        assert job in self.sockets, "a socket taken twice, or never sent"
        self.sockets.remove(job)

    def is_given_up(self, sid: int) -> bool:
        """Whether the machine goes down, and has waited long enough for a session that is down."""
        running = self.kernel.sessions.get(sid)
        if running is None or self.powered_down_at is None:
            return False
        if running.is_up and not (running.has_refused_logout or running.is_logged_out):
            return False
        waited = self.now - max(self.powered_down_at, running.last_up)
        return bool(self.interrupts) or waited >= OUTAGE_AT_POWER_DOWN - self.coincidence

    # --- what happens ---------------------------------------------------------------------------

    def _take_place(self, fact: Fact) -> None:
        if isinstance(fact, _Done):
            job = self.running.get(fact.job)
            if self._sleeps_in_kernel(fact.job):
                self.later(1, fact)
            elif job is not None:
                for reported in self._outcome(job):
                    self.handle(reported)
                if not (isinstance(job, DiscoveryJob) and self._stays(job)):
                    self._end(fact.job, 0.01)
            return
        if isinstance(fact, facts.WorkerEnded) and self.running.pop(fact.job_id, None) is None:
            return
        self.handle(fact)

    def _sleeps_in_kernel(self, job_id: JobId) -> bool:
        """Whether a scan waits for its session to be logged in again; no signal ends it."""
        job = self.running.get(job_id)
        running = self.kernel.sessions.get(job.sid) if isinstance(job, ScanJob) else None
        return running is not None and not running.is_up and not running.is_terminated

    def _stays(self, job: DiscoveryJob) -> bool:
        array = self._array(job.portal)
        return job.keep and self.keeps_discovery and array is not None and array.is_healthy

    def _outcome(self, job: Job) -> list[Fact]:
        if isinstance(job, ScanJob):
            self.kernel.scan(job.sid)
            return [facts.ScanFinished(job.id, self._missing(job))]
        array = self._array(job.portal)
        if array is None or not array.is_healthy:
            failure = Failure(Retry.SOON, "connection refused")
            if isinstance(job, DiscoveryJob):
                return [facts.DiscoveryFailed(job.id, failure)]
            return [facts.LoginFailed(job.id, failure)]
        if isinstance(job, DiscoveryJob):
            records = [
                facts.TargetDiscovered(
                    job.id, DiscoveryRecord(name, (TargetAddress(array.portal, 1),))
                )
                for name in sorted(array.targets)
            ]
            return [*records, facts.DiscoveryCompleted(job.id, kept=self._stays(job))]
        if job.login.target_name not in array.targets:
            failure = Failure(self.random.choice(self.refusals), "no such target")
            return [facts.LoginFailed(job.id, failure)]
        self.sockets.add(job.id)
        return [facts.LoginSucceeded(job.id, login_result(job), job.portal)]

    def _missing(self, job: ScanJob) -> tuple[int, ...]:
        """Return the LUNs that the target has no more; a clumsy one forgets some now and then."""
        assert not any(map(uses_of, job.drop)), "a disk that is in use was removed"
        if not self.failure_rate:
            return ()
        return tuple(lun for lun in range(4) if self.random.random() < self.failure_rate)

    def _array(self, portal: Portal) -> Array | None:
        return next((array for array in self.all if array.portal == portal), None)

    # --- disturbances ---------------------------------------------------------------------------

    def break_connection(self, sid: int, *, is_reported: bool = True) -> None:
        running = self.kernel.sessions.get(sid)
        if running is not None and running.is_up:
            self._note_up(sid)
            running.is_up, running.is_stopped = False, False
            if is_reported:
                self.handle(facts.ConnectionLost(sid, "the target closed the connection"))

    def _note_up(self, sid: int) -> None:
        running = self.kernel.sessions.get(sid)
        if running is not None and running.is_up:
            running.last_up = self.now

    def ask_for_logout(self, sid: int) -> None:
        """Let the target ask for a logout, if the session is up."""
        if self.kernel.sessions[sid].is_up:
            self.handle(facts.PduReceived(sid, LOGOUT_WANTED, b""))

    def stop_for_good(self, sid: int) -> None:
        """Another program stops a session for good; the daemon sees a lost connection."""
        self._note_up(sid)
        running = self.kernel.sessions[sid]
        running.is_terminated, running.is_stopped = True, False
        running.is_up = False
        self.handle(facts.ConnectionLost(sid, "the connection failed"))

    def wanted(self) -> set[IscsiName]:
        names = (a.targets for a in self.all if a.portal in self.configured)
        return set().union(*names)

    def up(self) -> Counter[str]:
        return Counter(
            running.description.target_name
            for running in self.kernel.sessions.values()
            if running.is_up and not running.is_logged_out
        )


@dataclass(frozen=True)
class _Done:
    """The time that a worker needs is over. The world's own event, not a fact."""

    job: JobId


def _some(fact: Fact | None) -> list[Fact]:
    return [] if fact is None else [fact]
