"""Each test runs in one lane, and in one only."""

from __future__ import annotations

from tests.support import run_parallel


def test_every_file_of_the_machine_is_in_one_lane_and_the_lanes_take_equally_long() -> None:
    every = [
        str(path.relative_to(run_parallel.TOP))
        for pattern in run_parallel.SPLIT
        for path in run_parallel.TOP.glob(pattern)
    ]
    taken = {file: 10.0 + number for number, file in enumerate(every)}
    first, second = run_parallel.split({**taken, "tests/config/test_parse.py": 100.0})
    assert sorted(first + second) == sorted(every)
    totals = [sum(taken[file] for file in lane) for lane in (first, second)]
    assert abs(totals[0] + 100.0 - totals[1]) <= max(taken.values())


def test_what_the_second_lane_runs_the_first_leaves_out() -> None:
    first, second = run_parallel.commands()
    ignored = [word.removeprefix("--ignore=") for word in first if word.startswith("--ignore=")]
    # Without a file, pytest would run every test in this lane, too.
    assert ignored and ignored == [word for word in second if word.endswith(".py")]
