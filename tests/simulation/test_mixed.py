"""A modest number of the mixed courses of events; ``mixed`` runs thousands by a command."""

from __future__ import annotations

import pytest

from tests.simulation.mixed import DISTURBANCES, STEPS, Figures, run_seed

SEEDS = range(200)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_mixture_everything_is_as_the_last_configuration_wants_it(seed: int) -> None:
    """After SIGINT the daemon leaves in time, what is gone is forgotten, no session is lost."""
    run_seed(seed)


def test_every_disturbance_happens_and_the_same_seed_gives_the_same_course() -> None:
    figures = Figures()
    for seed in range(12):
        run_seed(seed, figures)
    assert len(figures.disturbances) == len(set(DISTURBANCES))
    assert figures.interrupts > 0 and figures.kills > 0
    assert sum(figures.disturbances.values()) <= 12 * STEPS
    assert run_seed(3).log == run_seed(3).log
