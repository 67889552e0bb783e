"""How a worker ended that had not reported the end of its job: a wait status in words. Pure."""

from __future__ import annotations

import os
import signal

from iscsid.errors import Failure, Retry

INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h: a bug of ours, whose description is in the log."""

_BY_SIGNAL: dict[int, tuple[str, str]] = {
    signal.SIGKILL: (
        "was killed",
        "if no person did it, the machine ran out of memory: see the kernel's log",
    ),
    signal.SIGTERM: ("was asked to end", ""),
    signal.SIGXCPU: ("used up the processor time it may have", "report this as a bug"),
    signal.SIGSEGV: ("crashed", "report this as a bug"),
    signal.SIGBUS: ("crashed", "report this as a bug"),
    signal.SIGABRT: ("crashed", "report this as a bug"),
}


def unexpected_exit(status: int, doing: str) -> Failure:
    """Word the end of a worker that died while ``doing`` something, without a report.

    ``status`` is that of waitpid(2).
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        what, advice = _BY_SIGNAL.get(number, ("died", ""))
        return _failure(f"the worker {what} ({_name(number)}) while {doing}", advice)
    code = os.waitstatus_to_exitcode(status)
    if code == INTERNAL_ERROR:
        return _failure(
            f"the worker met an error of its own while {doing}",
            "see the line before this one, and report it as a bug",
        )
    return _failure(f"the worker ended with status {code} while {doing}, without a result", "")


def deadline_exceeded(seconds: float, doing: str) -> Failure:
    """Word the end of a worker that did not finish in time and was ended."""
    return _failure(
        f"not finished within {seconds:g} s, ended while {doing}",
        "look at the network and at the target's load",
    )


def invalid_message(error: Exception) -> Failure:
    """Word the end of a worker that was killed for its message."""
    return _failure(f"the worker was killed, because it sent an invalid message: {error}", "")


def not_started(error: OSError) -> Failure:
    """Word a fork that failed."""
    return _failure(
        f"no worker could be started: {os.strerror(error.errno or 0)}",
        "the machine is short of memory, processes or descriptors",
    )


def _failure(what: str, advice: str) -> Failure:
    return Failure(Retry.SOON, what, advice)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
