"""All faults in turn, each of them once: a short soak. The long one is ``soak``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.soak import KINDS, soak

SEED = 7
"""Any other would do; one that stays the same makes a failure come again."""


@pytest.mark.limit(300)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_in_turn_costs_not_one_byte(kind: str, tmp_path: Path) -> None:
    soak(kind, 0, SEED, tmp_path)
