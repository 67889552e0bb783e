"""Each test runs in one lane, and in one only."""

from __future__ import annotations

import subprocess
import sys

from tests.support import durations, run_parallel
from tests.support.patience import PATIENCE

FILE = "tests/vm/test_access.py"
"""Has tests of both kinds."""


def test_every_file_of_the_machine_is_in_one_lane_and_the_lanes_take_equally_long() -> None:
    seconds = run_parallel.read_seconds()
    lanes = run_parallel.split(seconds)
    assert sorted([*lanes[0], *lanes[1]]) == run_parallel.files()
    first, second = (sum(seconds[file] for file in lane) for lane in lanes)
    longest = max(seconds[file] for file in run_parallel.files())
    assert abs(seconds[run_parallel.OTHERS] + first - second) <= longest


def test_what_the_second_lane_runs_the_first_leaves_out() -> None:
    first, second = run_parallel.commands()
    option = "--elsewhere="
    elsewhere = [word.removeprefix(option) for word in first if word.startswith(option)]
    # Without a file, pytest would run every test in this lane, too.
    assert elsewhere and elsewhere == [word for word in second if word.endswith(".py")]
    assert second[second.index("not emulated") - 1] == "-m"


def test_of_a_file_that_is_elsewhere_the_emulated_tests_are_left() -> None:
    def names(*options: str) -> set[str]:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", FILE, *options]
        done = subprocess.run(
            command, cwd=run_parallel.TOP, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {line for line in done.stdout.splitlines() if "::" in line}

    first, second = names(f"--elsewhere={FILE}"), names("-m", "not emulated")
    assert first and second and not first & second
    assert first | second == names()


def test_what_a_lane_takes_beside_its_tests_counts_for_no_file() -> None:
    first, second = run_parallel.split(run_parallel.read_seconds())
    taken = {f"{file}::test": 10.0 for file in first + second}
    taken |= {f"{file}::test[lio]{durations.EMULATED}": 3.0 for file in first + second}
    walls = [300.0 + 10 * len(first) + 60, 10 * len(second) + 60.0]
    assert run_parallel.weigh(taken, *walls) == {
        run_parallel.OTHERS: 300.0,
        **dict.fromkeys(run_parallel.files(), 10.0),
    }
