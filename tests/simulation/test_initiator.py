"""The initiator in a simulated world: one promise at a time. All at once: ``test_mixed``."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from math import inf

import pytest

from iscsid import facts
from iscsid.initiator.retry import ATTEMPTS_PER_SECOND, JITTER, LEAST_PATIENCE
from iscsid.jobs import ScanJob
from tests.simulation.mixed import Mixed
from tests.simulation.world import PLACES, World, target

SEEDS = range(100)
FIRST_ATTEMPTS = 7
"""Until the pauses have grown to their longest."""


def settle(world: World) -> None:
    """Mend everything and wait: after this, what is wanted must be there."""
    world.kernel.failure_rate = world.failure_rate = 0
    for array in world.all:
        array.is_healthy = True
    world.handle(facts.HangupReceived())
    world.run(900)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_keeps_its_number_whatever_happens(seed: int) -> None:
    world = Mixed(seed)
    world.run(60)
    before = [line for line in world.bindings.splitlines() if line and not line.startswith("#")]
    assert before
    for _ in range(15):
        world.disturb()
    world.settle()
    assert set(before) <= set(world.bindings.splitlines())


@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.parametrize("seed", SEEDS[:12])
def test_attempts_are_bounded_in_rate_while_nothing_answers(seed: int, count: int) -> None:
    world = World(seed, arrays=1, targets_each=count, coincidence=0)
    world.run(120)
    world.all[0].is_healthy = False
    for sid in list(world.kernel.sessions):
        world.break_connection(sid)
    world.attempts.clear()
    world.run(1800)
    assert len(world.attempts) <= 2 * count + 1800 * ATTEMPTS_PER_SECOND / (1 - JITTER)
    by_name: defaultdict[str, list[float]] = defaultdict(list)
    for at, name in world.attempts:
        by_name[name].append(at)
    for times in by_name.values():
        gaps = [after - before for before, after in pairwise(times[FIRST_ATTEMPTS:])]
        assert min(gaps, default=inf) >= LEAST_PATIENCE * (1 - JITTER), "attempts without a pause"
    # One attempt at a time finds out for all; each takes up to 3 s.
    attempts = [at for at, _ in world.attempts][count * FIRST_ATTEMPTS :]
    gaps = [after - before for before, after in pairwise(attempts)]
    assert max(gaps) <= LEAST_PATIENCE + 3, "the portal is forgotten"


def test_workers_never_outnumber_their_limit() -> None:
    world = World(1, arrays=3, targets_each=9)
    most = 0
    for _ in range(400):
        world.run(0.1)
        most = max(most, sum(not isinstance(job, ScanJob) for job in world.running.values()))
    assert most == PLACES
    assert sum(world.up().values()) == 27


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_that_left_the_configuration_is_logged_out_and_no_other(seed: int) -> None:
    world = World(seed, failure_rate=0.05)
    world.run(60)
    world.configured.pop()
    settle(world)
    assert world.up() == dict.fromkeys(world.wanted(), 1)
    assert len(world.kernel.sessions) == len(world.wanted())


def test_a_target_whose_disks_are_in_use_stays_and_the_reason_is_logged() -> None:
    world = World(7)
    world.run(60)
    name = target(10)
    for running in world.kernel.sessions.values():
        running.in_use = running.description.target_name == name
    world.configured.pop()
    settle(world)
    assert set(world.up()) == world.wanted() | {name}
    assert any(str(name) in line and "mounted on /data" in line for line in world.log)
    for running in world.kernel.sessions.values():
        running.in_use = False
    settle(world)
    assert set(world.up()) == world.wanted()


def test_sigint_leaves_sessions_in_use_alone_and_exits_with_status_3() -> None:
    world = World(3)
    world.run(60)
    sid = next(iter(world.kernel.sessions))
    world.kernel.sessions[sid].in_use = True
    world.handle(facts.InterruptReceived())
    world.run(300)
    assert world.left == 3
    assert list(world.kernel.sessions) == [sid] and world.kernel.sessions[sid].is_up


@pytest.mark.parametrize("seed", SEEDS[:50])
def test_a_restart_sends_nothing_to_healthy_sessions(seed: int) -> None:
    world = World(seed)
    world.run(60)
    world.attempts.clear()
    before = {sid: id(running) for sid, running in world.kernel.sessions.items()}
    world.handle(facts.TerminateReceived())
    world.begin()
    world.run(600)
    assert not world.attempts
    assert {sid: id(running) for sid, running in world.kernel.sessions.items()} == before


def test_sigterm_leaves_at_once_and_the_sessions_stay() -> None:
    world = World(5)
    world.run(60)
    world.handle(facts.TerminateReceived())
    assert world.left == 0
    assert set(world.up()) == world.wanted()
