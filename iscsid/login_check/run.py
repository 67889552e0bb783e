"""A trial as it goes: discoveries, then logins, several children at once, and the report.

May read the two files of the administrator, start children, hear signals, and print. It neither
asks nor tells the kernel's iSCSI interface anything.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TextIO

from iscsid.cli.check import run_check, write_lines
from iscsid.cli.options import Options
from iscsid.errors import IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import ConfigurationRead, ConfigurationRefused, Fact
from iscsid.initiator.session import Identity
from iscsid.jobs import DiscoveryJob, Job, JobId, LoginJob
from iscsid.login_check.plan import Planner
from iscsid.login_check.report import (
    DiscoveryReport,
    Report,
    TargetReport,
    format_discovery,
    format_summary,
    format_target,
    to_plain,
)
from iscsid.login_check.results import Result
from iscsid.orders import Level
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.loop import Loop
from iscsid.process.signals import Signals
from iscsid.workers.supervisor import Supervisor


def run_login_check(options: Options, stdout: TextIO, stderr: TextIO) -> int:
    """Check the files, log in and out everywhere, print how it went; return the exit status.

    With ``options.json`` all of it is one JSON object. Debug level 1 tells each step on ``stderr``
    as it is taken, level 2 the exchanges, too. Raises ``IscsidError`` where a signal ends it.
    """
    if not options.json:
        status = run_check(options.config, options.initiatorname, stdout)
        if status != ExitStatus.SUCCESS:
            return status
    (files,) = ConfigurationFiles(options.config, options.initiatorname).read()
    if isinstance(files, ConfigurationRefused):
        refusal = {"ok": False, "errors": files.diagnostics}
        write_lines(stdout, json.dumps(refusal, indent=2).splitlines())
        return ExitStatus.FAILURE
    with ExitStack() as stack:
        crew = JobRunner(options, stderr, stack)
        trial = _LoginCheck(files, options.login_timeout, crew)
        if options.json:
            for _ in trial.lines():
                pass
            write_lines(stdout, json.dumps(to_plain(trial.report), indent=2).splitlines())
        else:
            for line in trial.lines():
                write_lines(stdout, [line])
                stdout.flush()
    return ExitStatus.SUCCESS if trial.report.is_well else ExitStatus.FAILURE


class _LoginCheck:
    """The story, told line by line as it unfolds; ``report`` is whole when the last is out."""

    def __init__(self, files: ConfigurationRead, login_timeout: float, crew: JobRunner) -> None:
        identity = Identity(files.initiator_name, files.initiator_alias, login_timeout)
        self._planner = Planner(files.configuration, identity)
        self._crew = crew
        self.report = Report()

    def lines(self) -> Iterator[str]:
        planned = self._planner.discoveries()
        self._crew.submit(each.job for each in planned if each.job)
        for each in planned:
            discovery = DiscoveryReport(each, self._crew.result_of(each.job) if each.job else None)
            self.report.discoveries.append(discovery)
            yield from format_discovery(discovery)
        targets = self._planner.targets(self.report.found())
        self._crew.submit(login.job for target in targets for login in target.logins)
        for target in targets:
            results = [self._crew.result_of(login.job) for login in target.logins]
            tried = TargetReport(target, tuple(zip(target.logins, results, strict=True)))
            self.report.targets.append(tried)
            yield from format_target(tried)
        yield from format_summary(self.report)


class JobRunner:
    """The children of a trial: at most so many at once, first come, first served."""

    def __init__(self, options: Options, stderr: TextIO, stack: ExitStack) -> None:
        self._stderr = stderr
        self._tells_steps = options.debug > 0
        self._most = options.max_processes
        self._waiting: deque[Job] = deque()
        self._results: dict[JobId, Result] = {}
        self._loop = Loop(lambda _level, _who, text: write_lines(stderr, [text]))
        stack.callback(self._loop.close)
        signals = Signals()
        stack.callback(signals.close)
        self._keeper = Supervisor(
            self._loop.add,
            self._loop.remove,
            self._note,
            level=Level.DEBUG if options.debug > 1 else Level.INFO,
        )
        stack.callback(self._keeper.end_all)
        signals.set_reaper(self._keeper.reap)
        self._loop.add(signals.fileno(), signals.read, "signals")
        self._loop.add_deadline(self._keeper.next_deadline, self._keeper.enforce_deadlines)

    def submit(self, jobs: Iterable[DiscoveryJob | LoginJob]) -> None:
        """Let these be done, as children get free."""
        for job in jobs:
            self._results[job.id] = Result()
            self._waiting.append(job)
        self._start_waiting()

    def result_of(self, job: DiscoveryJob | LoginJob) -> Result:
        """Wait until the job is over; the others go on meanwhile."""
        result = self._results[job.id]
        while not result.is_over:
            self._take(self._loop.wait())
            self._start_waiting()
        return result

    def _start_waiting(self) -> None:
        while self._waiting and not (self._most and len(self._keeper) >= self._most):
            self._take(self._keeper.start(self._waiting.popleft()))

    def _take(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            number = getattr(fact, "job_id", None)
            if number is None:  # it is a signal's
                raise IscsidError("ended by a signal", retry=Retry.NEVER)
            self._results[number].take(fact)

    def _note(self, job: Job, level: Level, text: str) -> None:
        if level is not Level.DEBUG:
            self._results[job.id].notes.append(text)
        elif self._tells_steps:
            write_lines(self._stderr, [f"{job.title}: {text}"])
