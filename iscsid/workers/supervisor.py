"""The daemon's workers: starts jobs in them, reads their reports, ends those that overstay.

A job is sent to an idle worker that has worked for the same portal, or to a new one from the fork
server. Privileged jobs have workers of their own. Lives in the daemon. May touch the channels, the
fork server and the connections that workers ask for; the initiator decides how many jobs run at
once, what is tried again, and when.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from itertools import count

from iscsid.errors import Failure, IscsidError, Retry
from iscsid.facts import Fact, LoginSucceeded, WorkerEnded
from iscsid.jobs import DiscoveryJob, DiskJob, Job, JobId, LoginJob, ResolveJob, WorkerJob
from iscsid.orders import Level
from iscsid.protocol.names import Portal, is_numeric
from iscsid.workers.channel import forbid_linger, open_channel
from iscsid.workers.connections import begin_connection
from iscsid.workers.exit_reasons import not_started
from iscsid.workers.fork_server import (
    HANGS_AFTER,
    ForkServer,
    ForkServerLost,
    WorkerExited,
    WorkerForked,
    WorkerNotForked,
)
from iscsid.workers.job_kinds import kind_of
from iscsid.workers.messages import Connecting
from iscsid.workers.resolver import HostResolved
from iscsid.workers.sandbox import Confinement
from iscsid.workers.worker import Worker

PER_TURN = 64
"""Messages taken of one worker before the loop turns to the others."""
MOST_IDLE = 4
"""Idle workers of one portal that are kept for more than a moment."""
RESOLVER_SECONDS = 60.0
"""For one name, if the login that waits for it has no deadline."""

WriteLine = Callable[[Job | DiskJob, Level, str], None]
Add = Callable[[int, Callable[[], list[Fact]], str], None]

_KILLED = Failure(
    Retry.SOON,
    "the process that starts workers was killed, and its workers with it",
    "if this happens again, see the kernel's log: the machine may be short of memory",
)

_HUNG = Failure(
    Retry.SOON,
    f"the process that starts workers did not answer for {HANGS_AFTER:.0f} s, and was given up "
    "with its workers",
    "look whether it was stopped, and whether the machine is overloaded",
)


class NoForkServer(IscsidError):
    """No worker can be started any more: both fork servers were killed, or do not answer.

    No session could be revived. Only another start makes a fork server that holds no secret.
    """

    def __init__(self) -> None:
        super().__init__(
            "both processes that start workers were killed, or do not answer",
            advice="start iscsid again; it takes over the sessions",
        )


class Supervisor:
    """All workers of the daemon.

    ``add`` puts a descriptor into the loop and ``remove`` takes it out; removing one that is not
    in it is no error (``process.loop.Loop``). ``write_line`` takes the log lines of workers, which
    send nothing less severe than ``level``. Idle workers that talked to targets end early enough
    that with those at work there are at most ``most``; 0 is no limit.
    """

    def __init__(
        self,
        fork_server: ForkServer,
        add: Add,
        remove: Callable[[int], None],
        write_line: WriteLine,
        *,
        level: Level = Level.INFO,
        most: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fork_server = fork_server
        self._add, self._remove, self._write_line = add, remove, write_line
        self._level = level
        self._most = most
        self._clock = clock
        self._serials = count(1)
        self._workers: dict[int, Worker] = {}
        self._by_job: dict[JobId, Worker] = {}
        self._sockets: dict[JobId, socket.socket] = {}
        self._resolvers: dict[JobId, Worker] = {}
        """The worker that waits for each resolver job."""
        self._unprotected: set[str] = set()
        self._watched = -1
        self._watch_fork_server()

    def __len__(self) -> int:
        """The number of the initiator's jobs that are not over."""
        jobs = (worker.job for worker in self._workers.values())
        return sum(job is not None and not isinstance(job, ResolveJob) for job in jobs)

    @property
    def processes(self) -> int:
        """The number of workers that have not ended, idle ones included."""
        return len(self._workers)

    # --- orders ---------------------------------------------------------------------------------

    def start(self, job: WorkerJob) -> list[Fact]:
        """Start ``job`` in a worker. What goes wrong is a fact, not an exception."""
        now = self._clock()
        while worker := self._idle_worker(job):
            try:
                worker.begin(job, self._level, now)
            except OSError:
                # It was killed a moment ago; its end will be read.
                worker.terminate(now)
            else:
                self._by_job[job.id] = worker
                return []
        try:
            worker = self._new_worker(job)
        except OSError as error:
            return [WorkerEnded(job.id, not_started(error))]
        try:
            worker.begin(job, self._level, now)
        except (BrokenPipeError, ConnectionResetError):
            # It could not be forked, or was killed: its end, which has the reason, will be read.
            worker.expect(job, now)
        except OSError as error:
            return [WorkerEnded(job.id, not_started(error))]
        self._by_job[job.id] = worker
        return []

    def stop(self, job: JobId) -> None:
        """End a job whose result is not wanted any more: nothing it reports counts from now on.

        Its ``WorkerEnded`` still comes, and is no failure. A job that is over is no error.
        """
        if worker := self._by_job.get(job):
            worker.stop(self._clock())

    def stop_all(self, now: float) -> None:
        """End all workers: SIGTERM now, and SIGKILL a second later to those that still live.

        The loop goes on meanwhile. A scan that hangs in the kernel cannot be killed: do not wait
        for ever.
        """
        for worker in self._workers.values():
            worker.stop(now)

    def end_all(self, seconds: float = 2.0) -> None:
        """End all workers and wait for it, at most ``seconds``; called last.

        What they still report is lost. A scan that hangs in the kernel cannot be killed; it is left
        behind, and ends when the kernel returns from the scan.
        """
        now = self._clock()
        limit = now + seconds
        self.stop_all(now)
        while self._workers and now < limit:
            due = min(limit, self.next_deadline() or limit)
            self._poll(max(due - now, 0.0))
            now = self._clock()
            self.enforce_deadlines(now)
            with suppress(NoForkServer):
                self._collect()

    def ask_again(self, job: JobId) -> None:
        """Make a kept discovery send SendTargets once more; one that is over is no error."""
        if worker := self._by_job.get(job):
            worker.ask_again(self._clock())

    def take_socket(self, job: JobId) -> socket.socket:
        """Return the socket of a login that succeeded; it is the caller's from now on."""
        return self._sockets.pop(job)

    def close_socket(self, job: JobId) -> None:
        """Close the socket of a login, unless it was taken or never came."""
        if connection := self._sockets.pop(job, None):
            forbid_linger(connection)
            connection.close()

    # --- time and death -------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return when ``enforce_deadlines`` must be called next, on the monotonic clock."""
        dues = [worker.due for worker in self._workers.values()]
        dues.append(self._fork_server.due)
        return min((due for due in dues if due is not None), default=None)

    def enforce_deadlines(self, now: float) -> None:
        """End the workers that overstay: SIGTERM first, SIGKILL a second later."""
        for worker in self._workers.values():
            worker.enforce(now)
        due = self._fork_server.due
        if due is not None and due <= now:
            self._fork_server.give_up()

    def reap(self) -> list[Fact]:
        """After SIGCHLD: collect a fork server that was killed. Never blocks."""
        self._fork_server.reap()
        return []

    # --- workers --------------------------------------------------------------------------------

    def _idle_worker(self, job: WorkerJob) -> Worker | None:
        """Return a worker without a job that may do this one."""
        key = _key(job)
        for worker in self._workers.values():
            if worker.job is None and not worker.is_ending and worker.key == key:
                return worker
        return None

    def _new_worker(self, job: WorkerJob) -> Worker:
        """Ask the fork server for a worker. Raises ``OSError``."""
        confinement = kind_of(job).confinement
        if confinement is Confinement.TARGET:
            self._make_room()
        serial = next(self._serials)
        channel, theirs = open_channel()
        try:
            with theirs:
                self._fork_server.fork(serial, confinement, theirs)
        except BaseException:
            channel.close()
            raise
        worker = Worker(
            serial,
            _key(job),
            channel,
            lambda number: self._fork_server.signal(serial, number),
            self._write,
        )
        self._workers[serial] = worker
        self._add(channel.fileno(), lambda: self._read(serial), f"worker {serial}")
        return worker

    def _make_room(self) -> None:
        """Keep the limit on processes: idle workers of other portals end first."""
        ours = [
            worker
            for worker in self._workers.values()
            if isinstance(worker.key, Portal) and not worker.is_ending
        ]
        surplus = len(ours) + 1 - self._most if self._most else 0
        for worker in [each for each in ours if each.job is None][: max(surplus, 0)]:
            worker.terminate(self._clock())

    def _limit_idle(self, worker: Worker) -> None:
        """Each worker has some megabytes of its own: keep a few idle ones of one kind."""
        idle = (each for each in self._workers.values() if each.job is None and not each.is_ending)
        if sum(each.key == worker.key for each in idle) > MOST_IDLE and not worker.is_ending:
            worker.keep_briefly(self._clock())

    # --- reading --------------------------------------------------------------------------------

    def _watch_fork_server(self) -> None:
        """Put the fork server's descriptor into the loop, and take out the one before."""
        if self._watched >= 0:
            self._remove(self._watched)
        self._watched = self._fork_server.fileno()
        if self._watched >= 0:
            self._add(self._watched, self._read_fork_server, "the fork server")

    def _read_fork_server(self) -> list[Fact]:
        facts: list[Fact] = []
        for event in self._fork_server.read():
            match event:
                case WorkerForked():
                    if worker := self._workers.get(event.serial):
                        worker.pid = event.pid
                case WorkerNotForked():
                    if worker := self._workers.get(event.serial):
                        worker.fail(not_started(OSError(event.error, "")))
                        facts += self._bury(worker, 0)
                case WorkerExited():
                    if worker := self._workers.get(event.serial):
                        facts += self._bury(worker, event.status)
                case ForkServerLost():
                    facts += self._replace_fork_server(_HUNG if event.has_hung else _KILLED)
        return facts

    def _replace_fork_server(self, why: Failure) -> list[Fact]:
        """Raises ``NoForkServer``."""
        self._watch_fork_server()
        facts: list[Fact] = []
        for worker in list(self._workers.values()):
            worker.fail(why)
            facts += self._bury(worker, 0)
        if self._watched < 0:
            raise NoForkServer
        return facts

    def _bury(self, worker: Worker, status: int) -> list[Fact]:
        """The process has ended: read what it still sent, and forget it."""
        facts = self._receive(worker, sys.maxsize)
        job = worker.job
        self._remove(worker.channel.fileno())
        ended = worker.ended(status)
        del self._workers[worker.serial]
        if job is not None:
            self._forget_job(job)
        if isinstance(job, ResolveJob):
            # It ended without an answer.
            return facts + self._resolved(HostResolved(job.id, (), socket.EAI_AGAIN))
        return facts + ended

    def _read(self, serial: int) -> list[Fact]:
        """Read the reports of a worker; it may have ended in the same turn of the loop."""
        worker = self._workers.get(serial)
        return self._receive(worker, PER_TURN) if worker else []

    def _receive(self, worker: Worker, most: int) -> list[Fact]:
        facts: list[Fact] = []
        job = worker.job
        for fact in worker.receive(most, self._clock()):
            if isinstance(fact, HostResolved):
                facts += self._resolved(fact)
                continue
            if isinstance(fact, LoginSucceeded) and worker.logged_in is not None:
                worker.logged_in.setblocking(True)
                self._sockets[fact.job_id], worker.logged_in = worker.logged_in, None
            if isinstance(job, ResolveJob):
                # It is over; if that was without an answer, there is none.
                facts += self._resolved(HostResolved(job.id, (), socket.EAI_AGAIN))
            else:
                facts.append(fact)
        if job is not None and worker.job is None:
            self._forget_job(job)
            self._limit_idle(worker)
        self._note_unprotected(worker, job)
        if not worker.is_readable:
            self._remove(worker.channel.fileno())
        if worker.wanted is not None and worker.needs_answer:
            self._answer(worker, worker.wanted.portal, worker.wanted.index)
        return facts

    def _forget_job(self, job: WorkerJob) -> None:
        """The job is over; so are the resolver jobs that it waited for."""
        self._by_job.pop(job.id, None)
        for each in [each for each, worker in self._resolvers.items() if worker.job is None]:
            del self._resolvers[each]
            self.stop(each)

    def _note_unprotected(self, worker: Worker, job: WorkerJob | None) -> None:
        for what in worker.unprotected:
            if what not in self._unprotected and job is not None:
                self._unprotected.add(what)
                self._write(job, Level.WARNING, f"workers are not protected by {what}")
        worker.unprotected.clear()

    def _write(self, job: WorkerJob, level: Level, text: str) -> None:
        """Log a line of a worker; a resolver's counts as one of the job that waits for it."""
        if not isinstance(job, ResolveJob):
            self._write_line(job, level, text)
        elif (waiting := self._resolvers.get(job.id)) and waiting.job is not None:
            self._write(waiting.job, level, text)

    # --- connections ----------------------------------------------------------------------------

    def _answer(self, worker: Worker, portal: Portal, index: int) -> None:
        """Begin the connection that a worker waits for, once its portal is resolved."""
        portals = (portal,) if is_numeric(portal) else worker.resolved.get(portal)
        if portals is None:
            self._start_resolver(worker, portal)
            return
        if index >= len(portals):
            worker.answer(Connecting("", len(portals), error=22), None)
            return
        job = worker.job
        assert isinstance(job, DiscoveryJob | LoginJob)
        window = job.tcp_window_size if isinstance(job, LoginJob) else 0
        host = portals[index].host
        try:
            connection = begin_connection(portals[index], window, job.socket_options)
        except OSError as error:
            worker.answer(Connecting(host, len(portals), error=error.errno or 22), None)
        else:
            worker.answer(Connecting(host, len(portals)), connection)

    def _start_resolver(self, worker: Worker, portal: Portal) -> None:
        assert worker.job is not None
        deadline = worker.job.deadline or RESOLVER_SECONDS
        # Below zero, where no job of the initiator is.
        job = ResolveJob(id=JobId(-next(self._serials)), portal=portal, deadline=deadline)
        self._resolvers[job.id] = worker
        worker.is_resolving = True
        if self.start(job):
            self._resolved(HostResolved(job.id, (), socket.EAI_MEMORY))

    def _resolved(self, answer: HostResolved) -> list[Fact]:
        worker = self._resolvers.pop(answer.job_id, None)
        if worker is None or worker.wanted is None:
            return []
        if answer.error:
            refusal = Connecting("", 0, resolver_error=answer.error, unreadable=answer.unreadable)
            worker.answer(refusal, None)
        else:
            worker.resolved[worker.wanted.portal] = answer.portals
            worker.is_resolving = False
            self._answer(worker, worker.wanted.portal, worker.wanted.index)
        return []

    # --- waiting without the loop ---------------------------------------------------------------

    def _poll(self, seconds: float | None) -> None:
        poll = select.poll()
        for descriptor in self._descriptors():
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)

    def _descriptors(self) -> Iterable[int]:
        if self._watched >= 0:
            yield self._watched
        for worker in self._workers.values():
            if worker.is_readable:
                yield worker.channel.fileno()

    def _collect(self) -> list[Fact]:
        facts: list[Fact] = []
        for serial in list(self._workers):
            facts += self._read(serial)
        return facts + (self._read_fork_server() if self._watched >= 0 else [])


def _key(job: WorkerJob) -> Hashable:
    """What one worker's jobs have in common: their portal, so that it meets one target only."""
    confinement = kind_of(job).confinement
    if confinement is Confinement.TARGET:
        assert isinstance(job, DiscoveryJob | LoginJob)
        return job.portal
    return confinement
