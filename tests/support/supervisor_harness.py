"""A supervisor in a small loop of the test's own, the facts it returned, and the lines it logged.

The workers are real processes of a real fork server; the test's process is the daemon.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from iscsid.facts import Fact, WorkerEnded
from iscsid.jobs import Job, JobId, WorkerJob
from iscsid.orders import Level
from iscsid.workers import sandbox
from iscsid.workers.fork_server import ForkServer
from iscsid.workers.sandbox import Confinement
from iscsid.workers.supervisor import Supervisor
from iscsid.workers.worker import Worker
from iscsid.workers.worker_main import Confine, RunJob, run_job
from tests.support.patience import PATIENCE

_opened: list[WorkersHarness] = []


def close_harnesses() -> None:
    """End what is left of the harnesses of a test. See ``tests/workers/conftest.py``."""
    while _opened:
        _opened.pop().close()


def not_confined(_confinement: Confinement, _place: int, _parent: int) -> list[str]:
    """For jobs of the tests that do what a confined worker may not."""
    return []


class WorkersHarness:
    def __init__(
        self,
        run_job: RunJob = run_job,
        level: Level = Level.DEBUG,
        *,
        confine: Confine = sandbox.confine,
        most: int = 0,
    ) -> None:
        self.facts: list[Fact] = []
        self.logged: list[tuple[Level, str]] = []
        self.readers: dict[int, Callable[[], list[Fact]]] = {}
        self.others: list[Callable[[], None]] = []
        """What else runs in each turn: a target's portal, for instance."""
        self.fork_server = ForkServer(run_job, confine)
        _opened.append(self)
        self.supervisor = Supervisor(
            self.fork_server, self._add, self._remove, self._log, level=level, most=most
        )

    def close(self) -> None:
        """Let all processes end."""
        self.fork_server.close()
        for worker in self.supervisor._workers.values():
            worker.channel.close()
            worker._drop_connection()
        for job in [*self.supervisor._sockets]:
            self.supervisor.close_socket(job)

    def _add(self, fd: int, read: Callable[[], list[Fact]], _name: str) -> None:
        assert fd not in self.readers
        self.readers[fd] = read

    def _remove(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def _log(self, _job: WorkerJob, level: Level, text: str) -> None:
        self.logged.append((level, text))

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.logged]

    def start(self, job: WorkerJob) -> None:
        self.facts += self.supervisor.start(job)

    def listen(self, seconds: float = 0.0) -> None:
        """Read what is readable now."""
        poll = select.poll()
        for fd in self.readers:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(seconds * 1000):
            if fd in self.readers:
                self.facts += self.readers[fd]()

    def turn(self) -> None:
        for other in self.others:
            other()
        self.listen(0.002 if self.others else 0.02)
        self.supervisor.enforce_deadlines(time.monotonic())
        self.facts += self.supervisor.reap()

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn until ``condition`` holds; fail if it never does."""
        give_up_at = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up_at, (self.facts, self.logged)
            self.turn()

    def run(self, *jobs: Job) -> list[Fact]:
        """Start the jobs and turn until all of them are over; return the facts."""
        for job in jobs:
            self.start(job)
        self.until(lambda: len(self.supervisor) == 0)
        return self.facts

    def wait_until_logged(self, text: str) -> None:
        self.until(lambda: any(text in line for line in self.lines))

    def worker_of(self, number: int = 1) -> Worker:
        """The worker that does a job."""
        return self.supervisor._by_job[JobId(number)]

    def pid_of(self, number: int = 1) -> int:
        """The process that does a job."""
        worker = self.worker_of(number)
        self.until(lambda: worker.pid != 0)
        return worker.pid

    def ending_of(self, job: JobId) -> WorkerEnded:
        """The one end of a job."""
        (ending,) = (f for f in self.facts if isinstance(f, WorkerEnded) and f.job_id == job)
        return ending


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the supervisor does not report."""
    give_up_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def status_of(pid: int) -> dict[str, str]:
    """What /proc shows of a process; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }


def open_descriptors() -> dict[int, str]:
    """The descriptors of this process, and what is behind them."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # the one that lists the directory
            pass
    return found


@contextmanager
def forked(life: Callable[[], None]) -> Iterator[int]:
    """Live ``life`` in a child of the test's own; end and reap the child in the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            life()
            status = 0
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
        else:
            os.waitpid(pid, 0)
