"""Run every test, in two lanes side by side, as ``tests/run`` does.

One virtual machine keeps little more than one processor busy, so a second one takes a part of the
tests that need it. What the second lane says is shown when both have ended. How much the tests
cover is measured in the first lane alone: inside a virtual machine nothing is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).parents[2]
SECOND = ("tests/vm/test_life*.py", "tests/vm/test_recovery*.py")
"""Whose tests have the second lane to themselves."""


def first_lane() -> list[str]:
    measured = [sys.executable, "-m", "coverage", "run", "-m", "pytest"]
    return [*measured, *(f"--ignore-glob={pattern}" for pattern in SECOND)]


def second_lane() -> list[str]:
    chosen = [file for pattern in SECOND for file in files(pattern)]
    return [sys.executable, "-m", "pytest", *chosen]


def files(pattern: str) -> list[str]:
    """Return the files of a pattern; without any, pytest would run every test in this lane, too."""
    found = sorted(str(path.relative_to(TOP)) for path in TOP.glob(pattern))
    if not found:
        sys.exit(f"no file matches {pattern}: correct SECOND")
    return found


def main() -> int:
    """Return 0 where every test of both lanes has passed."""
    with tempfile.TemporaryFile("w+") as said:
        second = subprocess.Popen(
            second_lane(), cwd=TOP, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        first = subprocess.Popen(first_lane(), cwd=TOP, stdin=subprocess.DEVNULL)
        try:
            statuses = [lane.wait() for lane in (first, second)]
        except KeyboardInterrupt:
            # The terminal has told the lanes, too; each ends its machine before it leaves.
            statuses = [lane.wait() for lane in (first, second)]
        said.seek(0)
        print(said.read(), end="", flush=True)
    return max(map(abs, statuses))


if __name__ == "__main__":
    sys.exit(main())
