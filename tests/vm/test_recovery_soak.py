"""All faults in turn, each of them once: a short soak, with LIO.

The long one is ``soak``, with either target; the other tests of recovery are with tgtd.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.conftest import needs_lio
from tests.vm.soak import soak

SEED = 7
"""Any other would do; one that stays the same makes a failure come again."""


@needs_lio
@pytest.mark.limit(300)
def test_every_fault_in_turn_costs_not_one_byte(tmp_path: Path) -> None:
    soak("lio", 0, SEED, tmp_path)
