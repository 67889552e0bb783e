"""However many sessions a dead array has, a session with another array comes back as fast.

``python -m tests.simulation.test_dead_array`` prints the seconds for arrays of many sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import pytest

from iscsid import facts, orders
from iscsid.facts import Fact
from iscsid.jobs import DiscoveryJob, JobId, LoginJob, ScanJob
from iscsid.orders import Order
from iscsid.protocol.names import Portal
from tests.simulation.hosts import Clock, Host

A, B = Portal("192.0.2.1"), Portal("192.0.2.2")
CONNECT_TIMEOUT = 15.0
AWAY = 60.0
PROCESSES = 30
SIZES = (120, 250, 500, 1000, 2000)
SLOWEST = CONNECT_TIMEOUT + 5
"""Seconds: the attempt that is under way when B answers again times out, then comes a pause."""


class TwoArrays(Host):
    """Array A with ``size`` sessions dies for good, array B with one session for a minute.

    Attempts at a dead array take as long as a connect that is not answered. ``hung_scans``: every
    session is being scanned when it is lost, and each scan sleeps until its session is back.
    """

    def __init__(self, size: int, *, processes: int = PROCESSES, hung_scans: bool = False) -> None:
        self.size, self.hung_scans = size, hung_scans
        self.clock = Clock()
        self.dead: set[Portal] = set()
        self.hanging: dict[int, JobId] = {}
        portals = {sid: A for sid in range(1, size + 1)} | {size + 1: B}
        super().__init__(self.clock, self, portals, processes=processes)
        self.clock.run(100)
        assert set(self.up) == set(), "no session has to be logged in"

    def seconds_of_b(self) -> float:
        """Return the seconds from B's answer to its session up."""
        self.dead = {A, B}
        if self.hung_scans:
            self.handle(facts.HangupReceived())
        self.lose_all()
        self.clock.run(AWAY)
        self.dead = {A}
        answers = self.clock.now
        last = self.size + 1
        while last not in self.up and self.clock.now < answers + 900:
            self.meddle()
            self.clock.run(1)
        return self.up.get(last, float("inf")) - answers

    def meddle(self) -> None:
        """What array A does in each second of B's wait: nothing."""

    def attempt(self, job: LoginJob | DiscoveryJob, end: Callable[[bool], None]) -> None:
        seconds = CONNECT_TIMEOUT if job.portal in self.dead else 0.1
        self.clock.at(self.clock.now + seconds, lambda: end(job.portal not in self.dead))

    def scan(self, job: ScanJob) -> None:
        if self.dead and job.sid not in self.up:
            self.hanging[job.sid] = job.id
        else:
            super().scan(job)

    def carry_out(self, order: Order) -> Iterable[Fact]:
        came = super().carry_out(order)
        if isinstance(order, orders.ResumeSession) and order.sid in self.hanging:
            job = self.hanging.pop(order.sid)
            self.clock.at(self.clock.now + 0.1, lambda: self.end_scan(job))
        return came


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
    arrays.clock.run(SLOWEST + 10)
    assert len(arrays.up) == 1001


def test_two_sessions_whose_scans_hang_come_back_with_two_processes() -> None:
    """Each scan had a place, and slept until its session was logged in again, for ever."""
    arrays = TwoArrays(1, processes=2, hung_scans=True)
    arrays.seconds_of_b()
    arrays.dead = set()
    arrays.clock.run(60)
    assert len(arrays.up) == 2


def main() -> None:
    print("sessions of A, seconds from B's answer to its session up, slowest turn in ms")
    for size in SIZES:
        arrays = TwoArrays(size)
        seconds = arrays.seconds_of_b()
        print(f"{size:13}, {seconds:46.1f}, {arrays.slowest_turn * 1000:.0f}")


if __name__ == "__main__":
    main()
