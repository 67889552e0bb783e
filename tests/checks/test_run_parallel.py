"""Each test runs in one lane, and in one only."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support import run_parallel


def test_what_the_second_lane_runs_the_first_leaves_out() -> None:
    second = {word for word in run_parallel.second_lane() if word.endswith(".py")}
    ignored = [
        word.removeprefix("--ignore-glob=")
        for word in run_parallel.first_lane()
        if "ignore" in word
    ]
    every = [
        str(path.relative_to(run_parallel.TOP))
        for path in run_parallel.TOP.glob("tests/**/test_*.py")
    ]
    left_out = {file for file in every if any(fnmatch(file, pattern) for pattern in ignored)}
    assert second == left_out
    assert all(Path(run_parallel.TOP, file).exists() for file in second)


def test_a_pattern_without_a_file_does_not_make_the_second_lane_run_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_parallel, "SECOND", ("tests/vm/test_life*.py", "tests/renamed/*.py"))
    with pytest.raises(SystemExit, match="renamed"):
        run_parallel.second_lane()
