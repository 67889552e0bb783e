"""The life of a worker, from the fork to ``os._exit``: it takes jobs until its channel closes.

It closes everything that it inherited, confines itself, and then does one job after another. This
is the one place in a worker that catches any exception: a bug of ours costs one attempt, and its
description goes to the log. Runs inside a worker only.
"""

from __future__ import annotations

import encodings.unicode_escape  # noqa: F401  printable() needs it, and a worker may have no disk
import gc
import os
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from iscsid.errors import Failure, IscsidError, Retry
from iscsid.jobs import DiskJob, WorkerJob
from iscsid.orders import Level
from iscsid.workers import sandbox
from iscsid.workers.channel import WorkerEnd
from iscsid.workers.connect_errors import connection_failed
from iscsid.workers.exit_reasons import INTERNAL_ERROR
from iscsid.workers.job_kinds import kind_of
from iscsid.workers.process_title import TitleBuffer, set_title
from iscsid.workers.reporter import Reporter
from iscsid.workers.sandbox import Confinement

RunJob = Callable[[Any, Reporter], None]
Confine = Callable[[Confinement, int, int], list[str]]

MOST_JOBS = 1000
"""Jobs of one worker. A new one begins with fresh memory."""
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE)
"""Meant for the daemon even if they reach the whole process group; it ends us if need be. A broken
connection is an error we can report."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What all workers of a fork server have in common."""

    title: TitleBuffer
    run_job: RunJob
    confine: Confine


def run_job(job: WorkerJob, reporter: Reporter) -> None:
    """Do a job."""
    kind_of(job).run(job, reporter)


def attempt(run_job: RunJob, job: WorkerJob, reporter: Reporter) -> Failure | None:
    """Do the job and return why it failed, if it did. Bugs pass through."""
    try:
        run_job(job, reporter)
    except IscsidError as error:
        return error.failure()
    except OSError as error:
        return connection_failed(job.title, error).failure()
    except MemoryError:
        return Failure(
            Retry.LATER,
            f"the worker needs more than the {sandbox.MEMORY // sandbox.MIBIBYTE} MiB of memory "
            "it may have",
            "" if isinstance(job, DiskJob) else "look at what the target sends",
        )
    return None


def worker_main(
    end: socket.socket, confinement: Confinement, place: int, parent: int, setup: WorkerSetup
) -> NoReturn:
    """Be a worker. Called right after the fork, with all signals blocked; never returns."""
    status = INTERNAL_ERROR
    channel = WorkerEnd(end)
    try:
        drop_inherited_state(end.fileno())
        sandbox.depend_on_parent(parent)
        sandbox.give_up_protection()
        set_title("iscsid: worker", setup.title)
        _work(channel, confinement, place, parent, setup)
        status = os.EX_OK
    except BaseException as error:  # nothing may get past this point, whatever it is
        channel.log(Level.ERROR, _describe(error))
    finally:
        # Not sys.exit: exit functions that were registered before the fork would run.
        os._exit(status)


def _work(
    channel: WorkerEnd, confinement: Confinement, place: int, parent: int, setup: WorkerSetup
) -> None:
    """Confine this process and do jobs until the daemon closes the channel."""
    missing: list[str] = []
    refused: Failure | None = None
    if confinement is not Confinement.PRIVILEGED:
        try:
            missing = setup.confine(confinement, place, parent)
        except OSError as error:
            what = f"the worker cannot give up its privileges: {error}"
            refused = IscsidError(what).failure()
    for number in range(MOST_JOBS):
        job = channel.receive_job()
        if job is None:
            return
        set_title(f"iscsid: {job.title}", setup.title)
        for what in missing if number == 0 else ():
            channel.unprotected(what)
        failure = refused or attempt(setup.run_job, job, channel)
        failed = kind_of(job).failed
        if failure is not None and failed is not None:
            channel.report(failed(job.id, failure))
            failure = None
        is_reusable = not (refused or sandbox.processor_time_is_short() or number == MOST_JOBS - 1)
        set_title("iscsid: worker", setup.title)
        channel.end_job(failure, is_reusable=is_reusable)
        if not is_reusable:
            return


def drop_inherited_state(kept: int) -> None:
    """Close every descriptor but the ``kept`` one and the standard streams; reset all signals.

    The Python objects that hold those descriptors are still there, below us on the stack; frozen,
    the collector never touches them, and so never closes a number that has become ours.
    """
    gc.freeze()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _describe(error: BaseException) -> str:
    """Return an exception in one line. No local variable is shown, since it may be a secret."""
    places = [
        f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}"
        for frame in traceback.StackSummary.extract(
            traceback.walk_tb(error.__traceback__), lookup_lines=False
        )
    ]
    return f"internal error: {type(error).__name__}: {error}, at {' < '.join(reversed(places))}"
