"""Keeps the daemon's children: forks, listens, reaps, ends those that overstay.

Lives in the daemon. It may touch processes and the channels to them, and decides nothing: how
many run at once, what is tried again and when is the owner's business.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from iscsid.facts import Fact, WorkerEnded
from iscsid.jobs import DiscoveryJob, Job, JobId
from iscsid.orders import Level
from iscsid.workers import worker_main
from iscsid.workers.channel import ParentEnd, open_channel
from iscsid.workers.exit_reasons import not_started
from iscsid.workers.inline_reporter import InlineReporter
from iscsid.workers.messages import failed
from iscsid.workers.process_title import find_title_buffer
from iscsid.workers.sandbox import UserIds, find_unprivileged_identity
from iscsid.workers.worker import Worker, WriteLine

PER_TURN = 64
"""Messages taken of one child before the loop may turn to the others."""

_ALL_SIGNALS = signal.valid_signals()

Add = Callable[[int, Callable[[], list[Fact]], str], None]


class Supervisor:
    """All children of the daemon.

    ``add`` puts a descriptor into the loop and ``remove`` takes it out, where one that is not in
    is no error (``process.loop.Loop``). ``write_line`` takes the log lines of workers, which send
    nothing quieter than ``level``. ``run_job`` does a job, in the worker, as ``identity``.
    """

    def __init__(
        self,
        add: Add,
        remove: Callable[[int], None],
        write_line: WriteLine,
        *,
        level: Level = Level.INFO,
        run_job: worker_main.RunJob = worker_main.run_job,
        identity: UserIds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._add, self._remove, self._write_line = add, remove, write_line
        self._level = level
        self._setup = worker_main.WorkerSetup(
            os.getpid(), identity or find_unprivileged_identity(), find_title_buffer(), run_job
        )
        self._clock = clock
        self._workers: dict[JobId, Worker] = {}
        self._sockets: dict[JobId, socket.socket] = {}

    def __len__(self) -> int:
        """The number of children that are not reaped yet."""
        return len(self._workers)

    # --- orders ---------------------------------------------------------------------------------

    def start(self, job: Job) -> list[Fact]:
        """Fork a child for ``job``. What goes wrong is a fact, not an exception."""
        try:
            pid, listener = self._fork(job)
        except OSError as error:
            return [WorkerEnded(job.id, not_started(error))]
        self._workers[job.id] = Worker(job, pid, listener, self._write_line, self._clock())
        self._add(listener.fileno(), lambda: self._listen(job.id), job.title)
        return []

    def run_inline(self, job: Job) -> list[Fact]:
        """Do ``job`` here and now, without a fork and without giving up privileges.

        For ``--once``: a discovery session is not kept. Exceptions that are bugs pass through.
        """
        if isinstance(job, DiscoveryJob):
            job = dataclasses.replace(job, keep=False)
        notebook = InlineReporter(job, self._write_line, self._level)
        failure = worker_main.attempt(lambda: self._setup.run_job(job, notebook, lambda: None), job)
        if failure is not None:
            notebook.report(failed(job, failure))
        if notebook.connection is not None:
            self._sockets[job.id] = notebook.connection
        return [*notebook.facts, WorkerEnded(job.id)]

    def stop(self, job: JobId) -> None:
        """End a child whose result nobody wants any more: nothing it says is told from now on.

        Its ``WorkerEnded`` still comes, and is no failure. A child that is gone is no error.
        """
        if worker := self._workers.get(job):
            worker.stop(self._clock())

    def stop_all(self, now: float) -> None:
        """End all children: SIGTERM now, and SIGKILL a second later to those still there.

        The loop goes on meanwhile: ``enforce_deadlines`` and ``reap`` finish it, and it is done
        when ``len`` is 0. A scan that hangs in the kernel cannot be killed: do not wait for ever.
        """
        for worker in self._workers.values():
            worker.stop(now)

    def end_all(self, seconds: float = 2.0) -> None:
        """End all children and wait for it, at most ``seconds``: the daemon's last act.

        What they still say is lost. A scan that hangs in the kernel cannot be killed; it is left
        behind, and dies when the kernel lets it.
        """
        # Held back, a SIGCHLD is not lost between a look at the children and the sleep.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        now = self._clock()
        limit = now + seconds
        try:
            self.stop_all(now)
            self.reap()
            while self._workers and now < limit:
                due = min(limit, self.next_deadline() or limit)
                signal.sigtimedwait((signal.SIGCHLD,), max(due - now, 0.0))
                now = self._clock()
                self.enforce_deadlines(now)
                self.reap()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def ask_again(self, job: JobId) -> None:
        """Make a kept discovery session ask SendTargets once more; one that is gone is no error."""
        if worker := self._workers.get(job):
            worker.ask_again(self._clock())

    def take_socket(self, job: JobId) -> socket.socket:
        """Return the socket of a login that succeeded; it is the caller's from now on."""
        return self._sockets.pop(job)

    def close_socket(self, job: JobId) -> None:
        """Close the socket of a login, unless it was taken or never came."""
        if connection := self._sockets.pop(job, None):
            connection.close()

    # --- time and death -------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return when ``enforce_deadlines`` must be called next, on the monotonic clock."""
        dues = (worker.due for worker in self._workers.values())
        return min((due for due in dues if due is not None), default=None)

    def enforce_deadlines(self, now: float) -> None:
        """End the children that overstay: SIGTERM first, SIGKILL a second later."""
        for worker in self._workers.values():
            worker.enforce(now)

    def reap(self) -> list[Fact]:
        """Collect the children that have ended, first all they had still said. Never blocks."""
        facts: list[Fact] = []
        for worker in list(self._workers.values()):
            status = worker.wait()
            if status is None:
                continue
            facts += self._hear(worker, sys.maxsize)
            facts.append(WorkerEnded(worker.job.id, worker.failure(status)))
            self._remove(worker.channel.fileno())
            worker.channel.close()
            del self._workers[worker.job.id]
        return facts

    # --- helpers --------------------------------------------------------------------------------

    def _listen(self, job: JobId) -> list[Fact]:
        """Hear a child when the loop says that its channel is ready, or was before it ended."""
        worker = self._workers.get(job)
        return self._hear(worker, PER_TURN) if worker else []

    def _hear(self, worker: Worker, most: int) -> list[Fact]:
        facts = worker.hear(most, self._clock())
        if worker.connection is not None:
            self._sockets[worker.job.id] = worker.connection
            worker.connection = None
        if not worker.is_readable:
            self._remove(worker.channel.fileno())
        return facts

    def _fork(self, job: Job) -> tuple[int, ParentEnd]:
        """Raises ``OSError``. Returns in the daemon only.

        All signals wait until the child has let go of the daemon's handlers: one that came in
        between would be heard by the daemon, as if it had been sent to it.
        """
        listener, speaker = open_channel(job, self._level)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                worker_main.worker_main(job, speaker, self._setup)
        except OSError:
            listener.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            speaker.close()
        return pid, listener
