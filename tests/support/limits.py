"""A pytest plugin: every test ends within its limit, and so does everything that it started.

A test that is over its limit fails with its own stack, and with what each process that it started
waits for; these are ended first, so that no clean-up waits for them. A test that passes and leaves
a process behind fails, too. The same inside the virtual machine.

``@pytest.mark.limit(SECONDS)`` sets another limit than ``LIMIT``: for each of set-up, call and
clean-up, on a quiet machine (``patience``). ``@pytest.mark.restarts(PROGRAM)`` is for a test that
restarts a service of the machine, which goes on after it.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from tests.support.patience import scaled
from tests.support.processes import (
    Process,
    children,
    descendants,
    describe,
    end,
    program_of,
    run_below_a_reaper,
)

LIMIT = 180.0
AGAIN = 10.0
"""Seconds after which a test that goes on all the same is interrupted once more."""
HARD = 120.0
"""Seconds over the limit after which the reaper aborts pytest: it does not react any more."""
DYING = 2.0
"""Seconds for a process that is ending already when its test ends."""


def limit_of(item: pytest.Item) -> float:
    """Return the seconds for each phase of a test, on this machine."""
    marker = item.get_closest_marker("limit")
    return scaled(float(marker.args[0]) if marker else LIMIT)


class Limits:
    """Used once for each session of tests."""

    def __init__(self) -> None:
        self._before: set[int] = set()
        self._limit = 0.0
        self._deadline = run_below_a_reaper()
        self._top = os.getppid()
        self._pytest = os.getpid()
        signal.signal(signal.SIGALRM, self._interrupt)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        self._before = self._children()
        with self._limited(item):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        with self._limited(item):
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        with self._limited(item):
            yield

    @pytest.fixture(autouse=True)
    def nothing_is_left_behind(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Set up after the fixtures that live longer than a test, and before all others."""
        self._before = self._children()
        yield
        if not self._new():
            return
        if (marker := request.node.get_closest_marker("restarts")) is not None:
            self._before |= {pid for pid in self._children() if program_of(pid) in marker.args}
        until = time.monotonic() + scaled(DYING)
        while (left := self._new()) and time.monotonic() < until:
            time.sleep(0.02)
        if left:
            self._fail("the test has ended and left processes behind", left, pytrace=False)

    @contextmanager
    def _limited(self, item: pytest.Item) -> Iterator[None]:
        self._limit = limit_of(item)
        self._deadline.set(self._limit + scaled(HARD))
        signal.setitimer(signal.ITIMER_REAL, self._limit, AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._deadline.set(0)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() == self._pytest:
            self._fail(f"over the limit of {self._limit:.0f} seconds", self._new())

    def _fail(self, why: str, processes: set[Process], *, pytrace: bool = True) -> None:
        found = [describe(each.pid) for each in sorted(processes, key=lambda each: each.pid)]
        for process in processes:
            end(process)
        ended = {process.pid for process in processes}
        for each in gc.get_objects():
            # Without its status, it would warn of a child that still runs.
            if isinstance(each, subprocess.Popen) and each.pid in ended:
                each.poll()
        pytest.fail("\n".join([why, *found]), pytrace=pytrace)

    def _children(self) -> set[int]:
        """Return the processes whose parent pytest is or, as theirs has ended, the reaper."""
        return (children(self._top) | children(self._pytest)) - {self._pytest}

    def _new(self) -> set[Process]:
        """Return what was started since the test began, by it and not by what was there before."""
        new = self._children() - self._before
        if not new:
            return set()
        all_now = descendants(self._top)
        while more := {each.pid for each, parent in all_now.items() if parent in new} - new:
            new |= more
        return {each for each in all_now if each.pid in new}
