"""Run every test, in two lanes side by side, as ``tests/run`` does.

One virtual machine keeps little more than one processor busy, so the files of tests that need one
are split between two lanes, each with a machine of its own. All other tests are in the first lane,
which alone measures coverage: inside a virtual machine nothing is measured. How long each file took
is recorded in the cache, and the next run splits by that. The second lane's output is shown when
both have ended, and after it the slowest tests of both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import durations

TOP = Path(__file__).parents[2]
RECORD = (TOP / ".cache" / "venv").resolve().parent / "durations.json"
"""Beside what ``tests/setup`` has fetched: all checkouts share it."""
SPLIT = ("tests/vm/test_*.py", "tests/packaging/test_boot.py")
UNKNOWN = 40.0
"""Seconds for a file of ``SPLIT`` that has not run yet, and ten times that for all other tests."""
SHOWN = 10


def split(seconds: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Split the files of ``SPLIT``: each, the longest first, goes to the lane that is done sooner.

    ``seconds`` is how long each file took last time, all others included.
    """
    files = [str(path.relative_to(TOP)) for pattern in SPLIT for path in TOP.glob(pattern)]
    weights = {file: seconds.get(file, UNKNOWN) for file in sorted(files)}
    rest = sum(taken for file, taken in seconds.items() if file not in weights)
    lanes: tuple[list[str], list[str]] = ([], [])
    totals = [rest or 10 * UNKNOWN, 0.0]
    for file in sorted(files, key=lambda file: -weights[file]):
        sooner = totals.index(min(totals))
        lanes[sooner].append(file)
        totals[sooner] += weights[file]
    return lanes


def commands() -> tuple[list[str], list[str]]:
    first, second = split(durations.by_file(_read(RECORD)))
    pytest = [*("-m", "pytest"), f"--durations={SHOWN}"]
    measured = [sys.executable, "-m", "coverage", "run", *pytest]
    return (
        [*measured, *(f"--ignore={file}" for file in sorted(second))],
        [sys.executable, *pytest, *sorted(second)],
    )


def _read(record: Path) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _slowest(taken: Mapping[str, float]) -> Iterator[str]:
    yield f"the {SHOWN} slowest tests of both lanes:"
    for test in sorted(taken, key=lambda test: -taken[test])[:SHOWN]:
        yield f"{taken[test]:8.1f} s  {test}"


def main() -> int:
    """Return 0 if every test of both lanes has passed."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as output:
        first, second = commands()
        records = [Path(directory) / "first", Path(directory) / "second"]
        environments = [{**os.environ, durations.VARIABLE: str(record)} for record in records]
        lanes = [
            subprocess.Popen(first, cwd=TOP, env=environments[0], stdin=subprocess.DEVNULL),
            subprocess.Popen(
                second,
                cwd=TOP,
                env=environments[1],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ),
        ]
        try:
            statuses = [lane.wait() for lane in lanes]
        except KeyboardInterrupt:
            # The terminal has sent it to the lanes, too; each ends its machine before it exits.
            statuses = [lane.wait() for lane in lanes]
        output.seek(0)
        print(output.read(), end="")
        taken = {test: seconds for record in records for test, seconds in _read(record).items()}
        print(*_slowest(taken), sep="\n", flush=True)
        if not any(statuses):
            RECORD.write_text(json.dumps(taken))
    return max(map(abs, statuses))


if __name__ == "__main__":
    sys.exit(main())
