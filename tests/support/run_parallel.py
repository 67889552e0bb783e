"""Run every test, in two lanes side by side, as ``tests/run`` does.

One virtual machine keeps little more than one processor busy, so the files of tests that need one
are split between two lanes, each with a machine of its own. Of each file, the tests marked
``emulated`` are in the first lane, so that only one machine is emulated. All other tests are there,
too, and only there coverage is measured: inside a virtual machine nothing is. The files are split
by the seconds in ``seconds.txt``; ``python -m tests.support.run_parallel --write-seconds`` runs all
tests and writes that file anew. The second lane's output is shown when both have ended, and after
it the slowest tests of both and how long each lane took. If that differs much, the file is old.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import durations

TOP = Path(__file__).parents[2]
SECONDS = Path(__file__).with_name("seconds.txt")
SPLIT = ("tests/vm/test_*.py", "tests/packaging/test_boot.py", "tests/packaging/test_root.py")
OTHERS = "others"
"""The line of ``SECONDS`` for all that is in the first lane in any case."""
UNKNOWN = 40.0
"""Seconds for a file without a line."""
SHOWN = 10


def files() -> list[str]:
    """Return the files of tests that are split."""
    return sorted(str(path.relative_to(TOP)) for pattern in SPLIT for path in TOP.glob(pattern))


def read_seconds() -> dict[str, float]:
    """Return the seconds of each file that there is, and of all others."""
    lines = (line.split() for line in SECONDS.read_text().splitlines())
    written = {name: float(seconds) for name, seconds in lines}
    return {name: written.get(name, UNKNOWN) for name in (OTHERS, *files())}


def split(seconds: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Split the files: each, the longest first, goes to the lane that is done sooner."""
    lanes: tuple[list[str], list[str]] = ([], [])
    totals = [seconds[OTHERS], 0.0]
    for file in sorted(seconds.keys() - {OTHERS}, key=lambda file: (-seconds[file], file)):
        sooner = totals.index(min(totals))
        lanes[sooner].append(file)
        totals[sooner] += seconds[file]
    return lanes


def commands() -> tuple[list[str], list[str]]:
    _, second = split(read_seconds())
    pytest = [*("-m", "pytest"), f"--durations={SHOWN}"]
    measured = [sys.executable, "-m", "coverage", "run", *pytest]
    return (
        [*measured, *(f"--elsewhere={file}" for file in sorted(second))],
        [sys.executable, *pytest, "-m", "not emulated", *sorted(second)],
    )


def _slowest(taken: Mapping[str, float]) -> Iterator[str]:
    yield f"the {SHOWN} slowest tests of both lanes:"
    for test in sorted(taken, key=lambda test: -taken[test])[:SHOWN]:
        yield f"{taken[test]:8.1f} s  {test}"


def weigh(taken: Mapping[str, float], first: float, second: float) -> dict[str, float]:
    """Return the seconds of each file, and of all others, from those of each test and each lane.

    What a lane takes that no test does, such as the boot of its machine, counts for neither.
    """
    by_file = durations.by_file(taken)
    lanes = split(read_seconds())
    seconds = {file: by_file.get(file, 0.0) for file in files()}
    left_over = [
        wall - sum(seconds[file] for file in lane)
        for wall, lane in zip((first, second), lanes, strict=True)
    ]
    return {OTHERS: left_over[0] - left_over[1], **seconds}


def _wait(lanes: list[subprocess.Popen[bytes]]) -> list[float]:
    """Wait for the end of both; return when each ended."""
    ends = [0.0, 0.0]
    while not all(ends):
        for number, lane in enumerate(lanes):
            if not ends[number] and lane.poll() is not None:
                ends[number] = time.monotonic()
        time.sleep(0.2)
    return ends


def main() -> int:
    """Return 0 if every test of both lanes has passed."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as output:
        first, second = commands()
        records = [Path(directory) / "first", Path(directory) / "second"]
        environments = [{**os.environ, durations.VARIABLE: str(record)} for record in records]
        start = time.monotonic()
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
            ends = _wait(lanes)
        except KeyboardInterrupt:
            # The terminal has sent it to the lanes, too; each ends its machine before it exits.
            ends = _wait(lanes)
        output.seek(0)
        print(output.read(), end="")
        taken = {
            test: seconds
            for record in records
            if record.exists()
            for test, seconds in json.loads(record.read_text()).items()
        }
        print(*_slowest(taken), sep="\n")
        walls = [end - start for end in ends]
        print(f"the lanes took {walls[0]:.0f} and {walls[1]:.0f} s", flush=True)
        statuses = [lane.returncode for lane in lanes]
        if "--write-seconds" in sys.argv[1:] and not any(statuses):
            seconds = weigh(taken, *walls)
            SECONDS.write_text("".join(f"{name} {seconds[name]:.0f}\n" for name in seconds))
    return int(max(map(abs, statuses)))


if __name__ == "__main__":
    sys.exit(main())
