"""The daemon is killed in the middle of any order: the next one finds all sessions again."""

from __future__ import annotations

import pytest

from iscsid import facts
from tests.simulation.world import IN_STEPS, KILLED, World

SEEDS = range(300)
LIVES = 6
LONGEST_LIFE = 50
"""Orders: a whole start with all its logins takes no more."""


def run_and_kill(world: World) -> None:
    """One life of the daemon: something happens, and within some orders it is killed.

    Some die while they start, the others once they have settled.
    """
    dies_at_start = world.random.random() < 0.3
    life = world.random.randrange(1, LONGEST_LIFE)
    world.orders_left = life if dies_at_start else 0
    world.fatal = world.random.choice((*IN_STEPS, None))
    if world.left is not None:
        world.begin()
        world.run(60)
    world.orders_left = world.orders_left or life
    if world.left is None and world.kernel.sessions and world.random.random() < 0.7:
        named = [sid for sid, running in world.kernel.sessions.items() if running.has_name]
        world.break_connection(world.random.choice(named or [*world.kernel.sessions]))
    if world.left is None and world.kernel.sessions and world.random.random() < 0.2:
        world.stop_for_good(world.random.choice([*world.kernel.sessions]))
    if world.left is None and world.kernel.sessions and world.random.random() < 0.3:
        world.ask_for_logout(world.random.choice([*world.kernel.sessions]))
    if world.left is None and world.random.random() < 0.5:
        _change_what_is_wanted(world)
    world.run(world.random.uniform(1, 90))


def _change_what_is_wanted(world: World) -> None:
    if len(world.configured) > 1:
        world.configured.pop()
    else:
        world.configured = [array.portal for array in world.all]
    world.handle(facts.HangupReceived())


def repair(world: World) -> None:
    """Let it live from now on, and want everything."""
    world.orders_left, world.fatal = 0, None
    world.configured = [array.portal for array in world.all]
    world.kernel.failure_rate = world.failure_rate = 0
    if world.left is not None:
        world.begin()
    else:
        world.handle(facts.HangupReceived())
    world.run(900)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_kill_every_wanted_target_has_exactly_one_session(seed: int) -> None:
    world = World(seed, failure_rate=0.05, keeps_discovery=bool(seed % 2))
    for _ in range(LIVES):
        run_and_kill(world)
    repair(world)
    assert world.up() == dict.fromkeys(world.wanted(), 1), "\n".join(world.log[-60:])
    assert len(world.kernel.sessions) == len(world.wanted()), "something half-made is left"
    assert all(running.is_scanned for running in world.kernel.sessions.values()), (
        "disks are missing"
    )


def test_kills_come_in_the_middle_of_every_order_that_takes_several_requests() -> None:
    killed = []
    for seed in SEEDS[:100]:
        world = World(seed)
        for _ in range(LIVES):
            run_and_kill(world)
            if world.left == KILLED:
                killed.append(world.log[-1])
    for order in IN_STEPS:
        count = sum(f"killed during {order.__name__}" in line for line in killed)
        assert count >= 5, f"{count} kills during {order.__name__}"
