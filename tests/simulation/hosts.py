"""Hosts whose sessions are up, on one clock and one network, which may go and come back.

A ``Host`` is an initiator and the least of a kernel: every request succeeds. How long an attempt
takes and whether it reaches its portal, the network decides. Nothing here sleeps or opens anything.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Protocol

from iscsid import facts, orders
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact, KernelSession, Timer
from iscsid.initiator.initiator import Initiator
from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob, ScanJob
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from tests.support.jobs import login_result

NO_ANSWER = Failure(Retry.SOON, "no answer in time")


class Clock:
    """The time in seconds, and what is due when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._ticks = count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._ticks), what))

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            at, _, what = heapq.heappop(self._agenda)
            self.now = max(self.now, at)
            what()
        self.now = end


class Network(Protocol):
    def attempt(self, job: LoginJob | DiscoveryJob, end: Callable[[bool], None]) -> None:
        """Begin an attempt; ``end`` is called at its end, with whether it succeeded."""


class Host:
    """One initiator; ``portals`` has the portal of each session, by its number."""

    def __init__(
        self,
        clock: Clock,
        network: Network,
        portals: Mapping[int, Portal],
        *,
        name: str = "host",
        processes: int = 30,
    ) -> None:
        self.portals = portals
        self.up: dict[int, float] = {}
        """When each session came up again that was lost."""
        self.slowest_turn = 0.0
        """Seconds of real time."""
        self._clock, self._network = clock, network
        self._name = IscsiName(f"iqn.2024-01.org.example:{name}")
        self._timers: dict[Timer, float] = {}
        self._addresses = tuple(dict.fromkeys(portals.values()))
        self._initiator = Initiator(
            login_timeout=60, max_processes=processes, bindings_file="bindings"
        )
        self.handle(self._configuration())
        self.handle(facts.BindingsRead(""))
        self.handle(facts.SessionsFound(tuple(map(self._seen, portals))))

    def lose_all(self) -> None:
        for sid in self.portals:
            self.handle(facts.ConnectionLost(sid, "reset"))

    def handle(self, *new: Fact) -> None:
        """Handle facts and what comes of them."""
        queue = list(new)
        for fact in queue:
            began = time.perf_counter()
            given = self._initiator.handle(fact, self._clock.now)
            self.slowest_turn = max(self.slowest_turn, time.perf_counter() - began)
            for order in given:
                queue += self.carry_out(order)

    def carry_out(self, order: Order) -> Iterable[Fact]:
        match order:
            case orders.StartWorker(job):
                self._start(job)
            case orders.ReadConfiguration():
                return [facts.BindingsRead(""), self._configuration()]
            case orders.ResumeSession(binding, sid):
                self.up[sid] = self._clock.now
                return [facts.SessionStarted(binding, sid, sid)]
            case orders.LearnCmdSn(sid):
                return [facts.CmdSnLearned(sid, 9)]
            case orders.SetTimer(timer, at):
                self._timers[timer] = at
                self._clock.at(at, lambda: self._expire(timer, at))
            case orders.CancelTimer(timer):
                self._timers.pop(timer, None)
        return []

    def scan(self, job: ScanJob) -> None:
        """A tenth of a second after its start, a scan is over."""
        self.end_scan(job.id)

    def end_scan(self, job: JobId) -> None:
        self.handle(facts.ScanFinished(job), facts.WorkerEnded(job))

    def _configuration(self) -> facts.ConfigurationRead:
        discoveries = tuple(DiscoverySettings(portal=portal) for portal in self._addresses)
        return facts.ConfigurationRead(Configuration(discoveries=discoveries), self._name)

    def _target_name(self, sid: int) -> IscsiName:
        return IscsiName(f"iqn.2024-01.org.example:t{sid}")

    def _seen(self, sid: int) -> KernelSession:
        number = f"{(sid - 1) // 256}:{(sid - 1) % 256}"
        return KernelSession(
            sid=sid,
            host_no=sid,
            target_name=self._target_name(sid),
            session_tag=f"iscsid:{number}:80aabbcc0000@{self.portals[sid]}",
            state="LOGGED_IN",
            target_state="SCANNED",
            connection_state="up",
            persistent_portal=self.portals[sid],
            portal_group_tag=1,
        )

    def _expire(self, timer: Timer, at: float) -> None:
        if self._timers.get(timer) == at:  # else it was cancelled or set anew
            del self._timers[timer]
            self.handle(facts.TimerExpired(timer))

    def _start(self, job: Job) -> None:
        if isinstance(job, ScanJob):
            self._clock.at(self._clock.now + 0.1, lambda: self.scan(job))
            return
        self._network.attempt(job, lambda is_reached: self._finish(job, is_reached))

    def _finish(self, job: LoginJob | DiscoveryJob, is_reached: bool) -> None:
        match job:
            case DiscoveryJob() if not is_reached:
                self.handle(facts.DiscoveryFailed(job.id, NO_ANSWER))
            case LoginJob() if not is_reached:
                self.handle(facts.LoginFailed(job.id, NO_ANSWER))
            case DiscoveryJob():
                address = TargetAddress(job.portal, 1)
                sids = [sid for sid, portal in self.portals.items() if portal == job.portal]
                records = [DiscoveryRecord(self._target_name(sid), (address,)) for sid in sids]
                self.handle(*(facts.TargetDiscovered(job.id, record) for record in records))
                self.handle(facts.DiscoveryCompleted(job.id))
            case LoginJob():
                self.handle(facts.LoginSucceeded(job.id, login_result(job), job.portal))
        self.handle(facts.WorkerEnded(job.id))
