"""Runs a login check: discoveries, then logins, several workers at once, and prints the report.

May read the configuration and the initiator name, start workers, handle signals, and print. Does
not touch the kernel's iSCSI interface.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TextIO

from iscsid.cli.check import run_check
from iscsid.cli.command import write_lines
from iscsid.cli.options import Options, Purpose
from iscsid.errors import IscsidError, Retry
from iscsid.exit_status import ExitStatus
from iscsid.facts import ConfigurationRead, Fact
from iscsid.initiator.offers import LoginIdentity
from iscsid.jobs import DiscoveryJob, DiskJob, Job, JobId, LoginJob
from iscsid.login_check.plan import Planner
from iscsid.login_check.report import (
    LONGEST_LINE,
    DiscoveryReport,
    Report,
    Result,
    TargetReport,
    format_discovery,
    format_records,
    format_summary,
    format_target,
    to_plain,
)
from iscsid.orders import Level
from iscsid.process.config_files import ConfigurationFiles
from iscsid.process.loop import Loop
from iscsid.process.signals import Signals
from iscsid.protocol.printable import printable
from iscsid.workers.fork_server import ForkServer
from iscsid.workers.supervisor import Supervisor


def run_login_check(
    options: Options, fork_server: ForkServer, stdout: TextIO, stderr: TextIO
) -> int:
    """Check the files, log in and out everywhere, print how it went; return the exit status.

    With ``options.json`` all of it is one JSON object. Debug level 1 prints each step on ``stderr``
    as it is taken, level 2 the exchanges, too. Raises ``IscsidError`` if a signal ends it.
    """
    is_whole = options.address is None and options.target is None
    if is_whole and not options.json:
        status = run_check(options.config, options.initiatorname, stdout)
        if status != ExitStatus.SUCCESS:
            return status
    files = _read_files(options, stdout)
    if files is None:
        return ExitStatus.FAILURE
    with ExitStack() as stack:
        runner = JobRunner(options, fork_server, stderr, stack)
        check = _LoginCheck(files, options, runner)
        if options.json:
            for _ in check.lines():
                pass
            write_lines(stdout, json.dumps(to_plain(check.report), indent=2).splitlines())
        else:
            for line in check.lines():
                write_lines(stdout, [line])
                stdout.flush()
    return ExitStatus.SUCCESS if check.report.is_well else ExitStatus.FAILURE


def run_discovery(options: Options, fork_server: ForkServer, stdout: TextIO, stderr: TextIO) -> int:
    """Ask one address for its targets and print them; return the exit status.

    Raises ``IscsidError`` if the discovery fails, or a signal ends it.
    """
    files = _read_files(options, stdout)
    if files is None:
        return ExitStatus.FAILURE
    with ExitStack() as stack:
        runner = JobRunner(options, fork_server, stderr, stack)
        (planned,) = _planner(files, options).discoveries()
        if planned.job is None:
            raise IscsidError(f"DiscoveryAddress {planned.portal} has Enabled=no")
        runner.submit([planned.job])
        result = runner.result_of(planned.job)
    report = Report([DiscoveryReport(planned, result)])
    if options.json:
        write_lines(stdout, json.dumps(to_plain(report), indent=2).splitlines())
    elif result.failure:
        raise IscsidError(f"{planned.portal}: {result.failure.what}", advice=result.failure.advice)
    else:
        write_lines(stderr, (f"iscsid: note: {printable(note, 400)}" for note in result.notes))
        write_lines(stdout, format_records(result, planned.portal))
    return ExitStatus.SUCCESS if report.is_well else ExitStatus.FAILURE


def _read_files(options: Options, stdout: TextIO) -> ConfigurationRead | None:
    """Return the contents of the files; ``None`` if they have errors, which are printed."""
    paths = ConfigurationFiles(options.config, options.initiatorname, options.address)
    files = paths.read()
    if isinstance(files, ConfigurationRead):
        return files
    if options.purpose is Purpose.DISCOVER and not options.json:
        raise IscsidError("\n".join(files.diagnostics))
    refusal = {"ok": False, "errors": files.diagnostics}
    as_json = json.dumps(refusal, indent=2).splitlines()
    write_lines(stdout, as_json if options.json else files.diagnostics)
    return None


def _planner(files: ConfigurationRead, options: Options) -> Planner:
    identity = LoginIdentity(files.initiator_name, files.initiator_alias, options.login_timeout)
    return Planner(files.configuration, identity, options.address, options.target)


class _LoginCheck:
    """Yields the report line by line as results arrive; ``report`` is complete after the last."""

    def __init__(self, files: ConfigurationRead, options: Options, runner: JobRunner) -> None:
        self._planner = _planner(files, options)
        self._target = options.target
        self._runner = runner
        self.report = Report()

    def lines(self) -> Iterator[str]:
        planned = self._planner.discoveries()
        self._runner.submit(each.job for each in planned if each.job)
        for each in planned:
            result = self._runner.result_of(each.job) if each.job else None
            discovery = DiscoveryReport(each, result)
            self.report.discoveries.append(discovery)
            yield from format_discovery(discovery)
        targets = self._planner.targets(self.report.found())
        self.report.untried = self._planner.untried
        self.report.contradictions = self._planner.contradictions
        self.report.missing = None if targets else self._target
        self._runner.submit(login.job for target in targets for login in target.logins)
        for target in targets:
            results = [self._runner.result_of(login.job) for login in target.logins]
            tried = TargetReport(target, tuple(zip(target.logins, results, strict=True)))
            self.report.targets.append(tried)
            yield from format_target(tried)
        yield from format_summary(self.report)


class JobRunner:
    """Runs the jobs of a check in workers: at most ``--max-processes`` at once, in order."""

    def __init__(
        self, options: Options, fork_server: ForkServer, stderr: TextIO, stack: ExitStack
    ) -> None:
        self._stderr = stderr
        self._prints_steps = options.debug > 0
        self._most = options.max_processes
        self._waiting: deque[Job] = deque()
        self._results: dict[JobId, Result] = {}
        self._loop = Loop(lambda _level, _who, text: write_lines(stderr, [text]))
        stack.callback(self._loop.close)
        signals = Signals()
        stack.callback(signals.close)
        self._supervisor = Supervisor(
            fork_server,
            self._loop.add,
            self._loop.remove,
            self._note,
            level=Level.DEBUG if options.debug > 1 else Level.INFO,
            most=self._most,
        )
        stack.callback(self._supervisor.end_all)
        signals.set_reaper(self._supervisor.reap)
        self._loop.add(signals.fileno(), signals.read, "signals")
        self._loop.add_deadline(self._supervisor.next_deadline, self._supervisor.enforce_deadlines)

    def submit(self, jobs: Iterable[DiscoveryJob | LoginJob]) -> None:
        """Queue these; they start as workers finish."""
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
        while self._waiting and not (self._most and len(self._supervisor) >= self._most):
            self._take(self._supervisor.start(self._waiting.popleft()))

    def _take(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            number = getattr(fact, "job_id", None)
            if number is None:  # the fact of a signal
                raise IscsidError("ended by a signal", retry=Retry.NEVER)
            self._results[number].take(fact)

    def _note(self, job: Job | DiskJob, level: Level, text: str) -> None:
        if level is not Level.DEBUG:
            self._results[job.id].notes.append(text)
        elif self._prints_steps:
            write_lines(self._stderr, [f"{job.title}: {printable(text, LONGEST_LINE)}"])
