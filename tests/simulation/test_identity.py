"""Disks that are exchanged behind a session's back: nothing is ever sent to another disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import Fact
from iscsid.jobs import Job, JobId, LoginJob
from iscsid.orders import Order
from iscsid.protocol.names import IscsiName
from tests.simulation.world import World

EXCHANGED = Failure(Retry.LATER, "LUN 1: another logical unit than before")


class Exchanging(World):
    """A world whose targets put another disk behind their LUN 1 now and then.

    The login worker compares the identities of its job with what it finds.
    """

    def begin(self) -> None:
        if not hasattr(self, "disks"):
            self.disks: Counter[IscsiName] = Counter()
            self.known: dict[int, int] = {}
            self.reached: dict[JobId, int] = {}
        super().begin()

    def carry_out(self, order: Order) -> list[Fact]:
        if isinstance(order, orders.ResumeSession):
            assert self.reached[order.job_id] == self.known[order.sid], "commands for another disk"
        return [self._with_identity(order, fact) for fact in super().carry_out(order)]

    def _with_identity(self, order: Order, fact: Fact) -> Fact:
        match fact:
            case facts.SessionStarted(_, sid) if isinstance(order, orders.StartSession):
                self.known[sid] = self.reached[order.job_id]
            case facts.CmdSnLearned(sid):
                page = self.known[sid].to_bytes(4, "big")
                return replace(fact, identities=((1, page),))
        return fact

    def _outcome(self, job: Job) -> list[Fact]:
        reported = super()._outcome(job)
        if isinstance(job, LoginJob) and isinstance(reported[0], facts.LoginSucceeded):
            name = job.login.target_name
            assert name is not None
            disk = self.disks[name]
            if job.identities not in ((), ((1, disk.to_bytes(4, "big")),)):
                self.sockets.discard(job.id)
                return [facts.LoginFailed(job.id, EXCHANGED)]
            self.reached[job.id] = disk
        return reported

    def exchange(self) -> None:
        """Put another disk in the place of one; the former one is nowhere any more."""
        self.disks[self.random.choice(sorted(self.wanted()))] += 1

    def put_right(self) -> None:
        for sid, running in self.kernel.sessions.items():
            self.disks[running.description.target_name] = self.known[sid]


@pytest.mark.parametrize("seed", range(60))
def test_a_session_only_goes_on_with_the_disk_it_had(seed: int) -> None:
    world = Exchanging(seed, failure_rate=0.1)
    world.run(60)
    for _ in range(15):
        world.exchange()
        for sid in list(world.kernel.sessions):
            if world.random.random() < 0.5:
                world.break_connection(sid)
        if world.random.random() < 0.2:
            world.handle(facts.TerminateReceived())
            world.begin()
        world.run(world.random.uniform(1, 200))
    world.kernel.failure_rate = world.failure_rate = 0
    world.put_right()
    world.run(900)
    assert world.up() == dict.fromkeys(world.wanted(), 1), "\n".join(world.log[-40:])
    assert not world.sockets


def test_while_the_disk_is_another_the_session_stays_down_and_it_is_logged_at_times() -> None:
    world = Exchanging(1, arrays=1, targets_each=1)
    world.run(60)
    world.exchange()
    (sid,) = world.kernel.sessions
    world.break_connection(sid)
    world.run(600)
    assert not world.kernel.sessions[sid].is_up
    assert 1 <= sum(EXCHANGED.what in line for line in world.log) <= 11, "more than once a minute"
    world.put_right()
    world.run(90)
    assert world.kernel.sessions[sid].is_up
