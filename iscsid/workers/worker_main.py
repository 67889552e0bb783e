"""The life of a worker, from the fork to ``os._exit``.

It lets go of everything of the daemon's, does its one job, and says how that went. This is the
one place in a worker where any exception at all is caught: a bug of ours costs one attempt, and
its description goes to the log. Runs inside a worker only.
"""

from __future__ import annotations

import encodings.unicode_escape  # noqa: F401  printable() needs it, and a worker may have no disk
import gc
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from iscsid.devices.sysfs import Sysfs
from iscsid.errors import Failure, IscsidError, Retry
from iscsid.jobs import DiscoveryJob, Job, LoginJob, ScanJob
from iscsid.orders import Level
from iscsid.process.prctl import Option, prctl
from iscsid.process.signals import HANDLED
from iscsid.workers import sandbox
from iscsid.workers.channel import WorkerEnd
from iscsid.workers.connect_errors import connection_failed
from iscsid.workers.discovery_worker import discover
from iscsid.workers.exit_reasons import INTERNAL_ERROR
from iscsid.workers.login_worker import run_login
from iscsid.workers.messages import failed
from iscsid.workers.process_title import TitleBuffer, set_title
from iscsid.workers.reporter import Reporter
from iscsid.workers.scan_worker import scan

RunJob = Callable[[Job, Reporter, sandbox.Confine], None]

_FAILED = 1
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE)
"""Meant for the daemon even where they reach the whole process group; it tells us what follows.
A broken connection is an error we can report."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs to know of the daemon it came from."""

    parent: int
    identity: sandbox.UserIds
    title: TitleBuffer
    run_job: RunJob


def run_job(job: Job, reporter: Reporter, confine: sandbox.Confine) -> None:
    """Do a job: the one table from its kind to the function."""
    match job:
        case DiscoveryJob():
            discover(job, reporter, confine)
        case LoginJob():
            run_login(job, reporter, confine)
        case ScanJob():
            scan(job, reporter, Sysfs())


def attempt(work: Callable[[], None], job: Job) -> Failure | None:
    """Do the work and return why it failed, if it did. Bugs pass through."""
    try:
        work()
    except IscsidError as error:
        return error.failure()
    except OSError as error:
        return connection_failed(job.title, error).failure()
    except MemoryError:
        return Failure(
            Retry.LATER,
            f"the worker needs more than the {sandbox.MEMORY // sandbox.MIBIBYTE} MiB of memory "
            "it may have",
            "look at what the target sends",
        )
    return None


def worker_main(job: Job, speaker: WorkerEnd, setup: WorkerSetup) -> NoReturn:
    """Be a worker. Called right after the fork, with all signals blocked; never returns."""
    status = INTERNAL_ERROR
    try:
        drop_inherited_state(speaker)
        _depend_on(setup.parent)
        set_title(f"iscsid: {job.title}", setup.title)
        sandbox.give_up_protection()
        status = _work(job, speaker, setup)
    except BaseException as error:  # nothing may get past this point, whatever it is
        speaker.log(Level.ERROR, _describe(error))
    finally:
        # Not sys.exit: the daemon's own exit functions would run, and remove its pid file.
        os._exit(status)


def _work(job: Job, speaker: WorkerEnd, setup: WorkerSetup) -> int:
    def confine() -> None:
        try:
            sandbox.confine(setup.identity)
        except OSError as error:
            raise IscsidError(f"the worker cannot give up its privileges: {error}") from error
        # The kernel forgets this when the user changes (prctl(2)).
        _depend_on(setup.parent)

    failure = attempt(lambda: setup.run_job(job, speaker, confine), job)
    if failure is None:
        return os.EX_OK
    speaker.report(failed(job, failure))
    return _FAILED


def drop_inherited_state(speaker: WorkerEnd) -> None:
    """Close what is the daemon's and its other workers', and forget its signal handlers.

    The Python objects that hold those descriptors are still there, below us on the stack; frozen,
    the collector never touches them, and so never closes a number that has become ours.
    """
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ours = speaker.fileno()
    os.closerange(3, ours)
    os.closerange(ours + 1, os.sysconf("SC_OPEN_MAX"))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _depend_on(parent: int) -> None:
    """Die when the daemon dies, however it does."""
    prctl(Option.SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(_FAILED)


def _describe(error: BaseException) -> str:
    """Tell an exception in one line. No local variable is shown, since secrets may be in them."""
    places = [
        f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}"
        for frame in traceback.StackSummary.extract(
            traceback.walk_tb(error.__traceback__), lookup_lines=False
        )
    ]
    return f"internal error: {type(error).__name__}: {error}, at {' < '.join(reversed(places))}"
