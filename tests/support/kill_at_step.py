"""Accidents for file code: end the process, or fail the call, at every step it takes.

A step is one call of a built-in function, which is where Python meets the system. The profiler's
hook sees each, so that the code under test needs no hooks of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType


def run_in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; return its wait status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def killed_at_step(step: int, work: Callable[[], None]) -> bool:
    """Run ``work`` in a child that is killed at its ``step``-th call; return whether it was."""

    def child() -> None:
        remaining = step

        def hook(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal remaining
            if event == "c_call":
                remaining -= 1
                if remaining == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(hook)
        work()
        sys.setprofile(None)

    status = run_in_child(child)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


class FailingCalls:
    """While it is entered, the ``number``-th call of one of these functions raises ``error``."""

    def __init__(self, number: int, error: OSError, functions: frozenset[object]) -> None:
        self._remaining = number
        self._error = error
        self._functions = functions
        self.failed = ""
        """The function that was not carried out."""

    def __enter__(self) -> FailingCalls:
        sys.setprofile(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _hook(self, _frame: FrameType, event: str, argument: object) -> None:
        if event != "c_call" or argument not in self._functions:
            return
        self._remaining -= 1
        if self._remaining == 0:
            self.failed = getattr(argument, "__name__", "?")
            raise self._error
