"""However many sessions a dead array has, a session with another array comes back as fast.

``python -m tests.simulation.test_dead_array`` prints the seconds for arrays of many sizes.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from itertools import count
from random import Random

import pytest

from iscsid import facts, orders
from iscsid.config.configuration import Configuration
from iscsid.config.settings import DiscoverySettings
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact, KernelSession, Timer
from iscsid.initiator.initiator import Initiator
from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob, ScanJob
from iscsid.orders import Order
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, TargetAddress
from iscsid.protocol.parameters import AgreedParameters, LoginResult

HOST = IscsiName("iqn.2024-01.org.example:host")
A, B = Portal("192.0.2.1"), Portal("192.0.2.2")
CONNECT_TIMEOUT = 15.0
AWAY = 60.0
PROCESSES = 30
SIZES = (120, 250, 500, 1000, 2000)
SLOWEST = CONNECT_TIMEOUT + 5
"""Seconds: the attempt that is under way when B answers again times out, then comes a pause."""


class TwoArrays:
    """Array A with ``size`` sessions dies for good, array B with one session for a minute.

    Attempts at a dead array take as long as a connect that is not answered. ``hung_scans``: every
    session is being scanned when it is lost, and each scan sleeps until its session is back.
    """

    def __init__(self, size: int, *, processes: int = PROCESSES, hung_scans: bool = False) -> None:
        self.size, self.hung_scans = size, hung_scans
        self.now = 1000.0
        self.dead: set[Portal] = set()
        self.up: dict[int, float] = {}
        self.agenda: list[tuple[float, int, Fact | Job | Timer]] = []
        self.timers: dict[Timer, float] = {}
        self.hanging: dict[int, JobId] = {}
        self.slowest_turn = 0.0
        self._ticks = count()
        self.initiator = Initiator(
            login_timeout=60, max_processes=processes, bindings_file="bindings"
        )
        self.portals = {sid: A for sid in range(1, size + 1)} | {size + 1: B}
        discoveries = tuple(DiscoverySettings(portal=portal) for portal in (A, B))
        self.handle(facts.ConfigurationRead(Configuration(discoveries=discoveries), HOST))
        self.handle(facts.BindingsRead(""))
        self.handle(facts.SessionsFound(tuple(map(self._seen, self.portals))))
        self.run(100)
        assert set(self.up) == set(), "no session has to be logged in"

    def seconds_of_b(self) -> float:
        """Return the seconds from B's answer to its session up."""
        self.dead = {A, B}
        if self.hung_scans:
            self.handle(facts.HangupReceived())
        for sid in self.portals:
            self.handle(facts.ConnectionLost(sid, "reset"))
        self.run(AWAY)
        self.dead = {A}
        answers = self.now
        last = self.size + 1
        while last not in self.up and self.now < answers + 900:
            self.meddle()
            self.run(1)
        return self.up.get(last, float("inf")) - answers

    def meddle(self) -> None:
        """What array A does in each second of B's wait: nothing."""

    # --- the world ------------------------------------------------------------------------------

    def _name(self, sid: int) -> IscsiName:
        return IscsiName(f"iqn.2024-01.org.example:t{sid}")

    def _seen(self, sid: int) -> KernelSession:
        number = f"{(sid - 1) // 256}:{(sid - 1) % 256}"
        return KernelSession(
            sid=sid,
            host_no=sid,
            target_name=self._name(sid),
            session_tag=f"iscsid:{number}:80aabbcc0000@{self.portals[sid]}",
            state="LOGGED_IN",
            target_state="SCANNED",
            connection_state="up",
            persistent_portal=self.portals[sid],
            portal_group_tag=1,
        )

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            if not self.agenda or self.agenda[0][0] > end:
                break
            at, _, what = heapq.heappop(self.agenda)
            if isinstance(what, Timer):
                if self.timers.get(what) != at:
                    continue
                del self.timers[what]
                what = facts.TimerExpired(what)
            self.now = max(self.now, at)
            if isinstance(what, LoginJob | DiscoveryJob | ScanJob):
                self._finish(what)
            else:
                self.handle(what)
        self.now = end

    def handle(self, *new: Fact) -> None:
        queue = list(new)
        for fact in queue:
            began = time.perf_counter()
            given = self.initiator.handle(fact, self.now)
            self.slowest_turn = max(self.slowest_turn, time.perf_counter() - began)
            for order in given:
                queue += self._carry_out(order)

    def _carry_out(self, order: Order) -> Iterable[Fact]:
        match order:
            case orders.StartWorker(job):
                is_dead = not isinstance(job, ScanJob) and job.portal in self.dead
                self._later(CONNECT_TIMEOUT if is_dead else 0.1, job)
            case orders.ReadConfiguration():
                discoveries = tuple(DiscoverySettings(portal=portal) for portal in (A, B))
                read = facts.ConfigurationRead(Configuration(discoveries=discoveries), HOST)
                return [facts.BindingsRead(""), read]
            case orders.ResumeSession(binding, sid):
                self.up[sid] = self.now
                if job_id := self.hanging.pop(sid, None):
                    self._later(0.1, facts.ScanFinished(job_id))
                    self._later(0.1, facts.WorkerEnded(job_id))
                return [facts.SessionStarted(binding, sid, sid)]
            case orders.LearnCmdSn(sid):
                return [facts.CmdSnLearned(sid, 9)]
            case orders.SetTimer(timer, at):
                self.timers[timer] = at
                heapq.heappush(self.agenda, (at, next(self._ticks), timer))
            case orders.CancelTimer(timer):
                self.timers.pop(timer, None)
        return []

    def _later(self, delay: float, what: Fact | Job) -> None:
        heapq.heappush(self.agenda, (self.now + delay, next(self._ticks), what))

    def _finish(self, job: Job) -> None:
        failure = Failure(Retry.SOON, "no answer in time")
        match job:
            case ScanJob() if self.dead and job.sid not in self.up:
                self.hanging[job.sid] = job.id
                return
            case ScanJob():
                self.handle(facts.ScanFinished(job.id))
            case DiscoveryJob() if job.portal in self.dead:
                self.handle(facts.DiscoveryFailed(job.id, failure))
            case LoginJob() if job.portal in self.dead:
                self.handle(facts.LoginFailed(job.id, failure))
            case DiscoveryJob():
                sids = [sid for sid, portal in self.portals.items() if portal == job.portal]
                address = TargetAddress(job.portal, 1)
                records = [DiscoveryRecord(self._name(sid), (address,)) for sid in sids]
                self.handle(*(facts.TargetDiscovered(job.id, record) for record in records))
                self.handle(facts.DiscoveryCompleted(job.id))
            case LoginJob():
                result = LoginResult(
                    isid=job.login.isid,
                    tsih=1,
                    cmd_sn=job.login.cmd_sn,
                    exp_stat_sn=1,
                    target_portal_group_tag=1,
                    parameters=AgreedParameters(default_time2wait=0),
                )
                self.handle(facts.LoginSucceeded(job.id, result, job.portal))
        self.handle(facts.WorkerEnded(job.id))


@pytest.mark.parametrize("hung_scans", [False, True], ids=["", "scans hang"])
@pytest.mark.parametrize("processes", [2, PROCESSES])
@pytest.mark.parametrize("size", [1, 120, 1000])
def test_a_session_comes_back_as_fast_however_many_sessions_a_dead_array_has(
    size: int, processes: int, hung_scans: bool
) -> None:
    arrays = TwoArrays(size, processes=processes, hung_scans=hung_scans)
    assert arrays.seconds_of_b() <= SLOWEST


class Restless(TwoArrays):
    """Array A answers and falls silent, drops its sessions and refuses logins, at random."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        super().__init__(
            self.random.choice([3, 40, 300]), processes=self.random.choice([2, 4, PROCESSES])
        )

    def meddle(self) -> None:
        self.dead = {A} if self.random.random() < 0.6 else set()
        for sid in self.random.sample(range(1, self.size + 1), k=min(self.size, 20)):
            if self.up.pop(sid, None) is not None:
                self.handle(facts.ConnectionLost(sid, "reset"))
        if self.random.random() < 0.2:
            self.handle(facts.HangupReceived())


@pytest.mark.parametrize("seed", range(60))
def test_a_session_comes_back_as_fast_whatever_another_array_does(seed: int) -> None:
    # With two processes there is one place for both arrays, and A's attempt may come first.
    assert Restless(seed).seconds_of_b() <= SLOWEST + CONNECT_TIMEOUT


def test_all_sessions_of_an_array_come_back_soon_after_it_answers() -> None:
    arrays = TwoArrays(1000)
    arrays.seconds_of_b()
    arrays.dead = set()
    arrays.run(SLOWEST + 10)
    assert len(arrays.up) == 1001


def test_two_sessions_whose_scans_hang_come_back_with_two_processes() -> None:
    """Each scan had a place, and slept until its session was logged in again, for ever."""
    arrays = TwoArrays(1, processes=2, hung_scans=True)
    arrays.seconds_of_b()
    arrays.dead = set()
    arrays.run(60)
    assert len(arrays.up) == 2


def main() -> None:
    print("sessions of A, seconds from B's answer to its session up, slowest turn in ms")
    for size in SIZES:
        arrays = TwoArrays(size)
        seconds = arrays.seconds_of_b()
        print(f"{size:13}, {seconds:46.1f}, {arrays.slowest_turn * 1000:.0f}")


if __name__ == "__main__":
    main()
