"""How long tests wait: one factor for all limits, and the one way to wait for a condition.

Every limit in the tests is written for a quiet machine and multiplied by ``FACTOR``. The factor is
measured when the tests start; ``ISCSID_TEST_PATIENCE`` in the environment sets it. The virtual
machine gets the host's factor times ``EMULATED``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

VARIABLE = "ISCSID_TEST_PATIENCE"
EMULATED = 3.0
"""QEMU's software emulation is 10 to 20 times slower than the host; the limits have room for the
rest."""
_STARTS = 10
_MOST = 4.0
"""More would only make a test that hangs cost more."""
_START_TIME = 0.015
"""Seconds that one start of Python takes on a quiet machine with two processors of 2023."""


def _measure() -> float:
    command = [sys.executable, "-I", "-S", "-c", ""]
    begin = time.monotonic()
    for _ in range(_STARTS):
        subprocess.run(command, check=True)
    return min(max(1.0, (time.monotonic() - begin) / (_STARTS * _START_TIME)), _MOST)


def _factor() -> float:
    """Return the factor, which all processes started from here on share."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = f"{_measure():.1f}"
    return float(os.environ[VARIABLE])


FACTOR = _factor()


def scaled(limit: float) -> float:
    """Return the seconds that a limit of so many seconds has on this machine."""
    return limit * FACTOR


PATIENCE = scaled(60.0)
"""Seconds after which something that must happen is taken not to happen."""


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    *,
    seconds: float = PATIENCE,
) -> None:
    """Return as soon as ``condition`` holds; fail the test with ``what`` if it never does."""
    end, pause = time.monotonic() + seconds, 0.005
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(what if isinstance(what, str) else what())
        # A question may cost the emulated machine much: what has taken long is asked about seldom.
        time.sleep(pause)
        pause = min(1.5 * pause, 0.1)
