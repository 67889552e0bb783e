"""Jobs that the tests give to workers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from iscsid.facts import LoginSucceeded, ScanFinished
from iscsid.jobs import Job
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import LoginResult
from iscsid.workers.reporter import Reporter
from iscsid.workers.transport import Deadline, Limits, connect
from iscsid.workers.worker_main import RunJob
from tests.support.jobs import ISID

RESULT = LoginResult(isid=ISID, tsih=1, cmd_sn=1, exp_stat_sn=1)


def finishes(job: Job, reporter: Reporter) -> None:
    reporter.report(ScanFinished(job.id))


def hangs(_job: Job, reporter: Reporter) -> None:
    reporter.progress("hanging")
    time.sleep(60)


def hangs_and_ignores_signals(_job: Job, reporter: Reporter) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.progress("hanging")
    time.sleep(60)


def logs_in(portal: Portal, then: Callable[[], None] = lambda: None) -> RunJob:
    """Passes a real connection on, and then does something else."""

    def run_job(job: Job, reporter: Reporter) -> None:
        with connect(portal, Limits(10, Deadline.after(10)), reporter):
            reporter.report(LoginSucceeded(job.id, RESULT, portal))
        then()

    return run_job
