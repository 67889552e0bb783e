"""One worker, as the supervisor knows it: its job, what it has reported, and when a step is due.

Nothing that a worker sends is trusted: it is checked and counted, and dropped once its job is
over. May touch its channel, and signal its process through the fork server; lives in the daemon.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Hashable

from iscsid.errors import Failure, Retry
from iscsid.facts import (
    DiscoveryCompleted,
    Fact,
    LoginFailed,
    LoginSucceeded,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.jobs import DiscoveryJob, LoginJob, WorkerJob
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.workers.channel import ChannelClosed, ParentEnd, forbid_linger
from iscsid.workers.codec import Malformed
from iscsid.workers.exit_reasons import deadline_exceeded, invalid_message, unexpected_exit
from iscsid.workers.job_kinds import FromWorker, is_final
from iscsid.workers.log_quota import LogQuota
from iscsid.workers.messages import (
    Connecting,
    ConnectionWanted,
    JobEnded,
    LogLine,
    Progress,
    SendTargetsAgain,
    Unprotected,
)
from iscsid.workers.resolver import HostResolved

GRACE = 2.0
"""Seconds beyond the deadline of a job until its worker is ended: it should give up by itself."""
AFTER_RESULT = 10.0
"""Seconds a worker may take to end its job after its last fact; a discovery logs out meanwhile."""
AFTER_SIGTERM = 1.0
"""Seconds between SIGTERM and SIGKILL."""
IDLE = 10.0
"""Seconds a worker without a job is kept. A portal that comes back has its next login by then."""
SURPLUS = 0.25
"""Seconds an idle worker is kept beside ``supervisor.MOST_IDLE`` others of its kind."""
MOST_TARGETS = 65536
"""Targets in one answer: there are no more bindings than that."""
MOST_ADDRESSES = 131072
"""Addresses in one answer: two for each of the most targets. They take about 30 MB here."""
MOST_CONNECTIONS = 200
"""Connections of one job: 8 redirections to 8 portals each, some of them with more addresses."""

WriteLine = Callable[[WorkerJob, Level, str], None]
Signal = Callable[[signal.Signals], None]


class TooMuch(Exception):
    """The target has reported more than is accepted; ``failure`` has the words."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


class Worker:
    """A process that was forked and has not ended yet, with a job or idle.

    ``due`` is when the next step against it is taken, on the monotonic clock. ``wanted`` is the
    connection it waits for, ``is_resolving`` whether that waits for a name, and ``resolved`` what
    its job's names were resolved to; all are the supervisor's to answer.
    """

    def __init__(
        self,
        serial: int,
        key: Hashable,
        channel: ParentEnd,
        send_signal: Signal,
        write_line: WriteLine,
    ) -> None:
        self.serial = serial
        self.key = key
        """Jobs of the same key may follow each other in this worker."""
        self.channel = channel
        self.pid = 0
        """Known once it is forked."""
        self.job: WorkerJob | None = None
        self.is_readable = True
        self.is_ending = False
        """It was sent a signal, or will take no further job."""
        self.due: float | None = None
        self.wanted: ConnectionWanted | None = None
        self.is_resolving = False
        self.resolved: dict[Portal, tuple[Portal, ...]] = {}
        self.unprotected: list[str] = []
        self.logged_in: socket.socket | None = None
        """The connection of a login that succeeded, until the supervisor takes it."""
        self._connection: socket.socket | None = None
        """A duplicate of the last one that was begun for the job."""
        self._send_signal = send_signal
        self._write_line = write_line
        self._reset(0.0)

    # --- orders ---------------------------------------------------------------------------------

    def begin(self, job: WorkerJob, level: Level, now: float) -> None:
        """Send a job. Raises ``OSError``."""
        self.channel.send_job(job, level)
        self.expect(job, now)

    def expect(self, job: WorkerJob, now: float) -> None:
        """Take what comes from now on as the answer to ``job``."""
        self.job = job
        self._reset(now)
        self._expect_answer(now)

    def _reset(self, now: float) -> None:
        """Set what belongs to one job."""
        self.resolved.clear()
        self._progress = "starting"
        self._failure: Failure | None = None
        """Why we killed it."""
        self._is_wanted = True
        self._has_answered = False
        self._has_result = False
        self._targets = self._addresses = self._connections = 0
        self._quota = LogQuota(now)

    def stop(self, now: float) -> None:
        """End it; from now on nothing it reports counts, and its end is no failure."""
        self._is_wanted = False
        self.terminate(now)

    def terminate(self, now: float) -> None:
        """SIGTERM; SIGKILL follows."""
        if not self.is_ending:
            self.is_ending = True
            self.due = now + AFTER_SIGTERM
            self._send_signal(signal.SIGTERM)

    def ask_again(self, now: float) -> None:
        """Make it send SendTargets once more, if it keeps a discovery."""
        if isinstance(self.job, DiscoveryJob) and self.job.keep:
            self.channel.send_order(SendTargetsAgain())
            self._expect_answer(now)

    def enforce(self, now: float) -> None:
        """Take the step that is due, if one is: SIGTERM first, SIGKILL after a while."""
        if self.due is None or self.due > now:
            return
        if self.is_ending:
            self._kill()
            return
        if self.job is not None:
            self._failure = deadline_exceeded(self.job.deadline, self._progress)
        self.terminate(now)

    def answer(self, answer: Connecting, connection: socket.socket | None) -> None:
        """Give it the connection that it waits for, and keep a duplicate."""
        self.wanted, self.is_resolving = None, False
        self.channel.send_order(answer, connection)
        self._connection = connection

    def fail(self, failure: Failure) -> None:
        """Its end, which is near, is a consequence of ``failure``."""
        if self.job is not None:
            self._failure = self._failure or failure

    def ended(self, status: int) -> list[Fact]:
        """The process has ended: return what that means for its job."""
        self._drop_connection()
        self.channel.close()
        if self.job is None:
            return []
        return [self._end_job(self._failure or unexpected_exit(status, self._progress), status)]

    # --- reports --------------------------------------------------------------------------------

    def receive(self, most: int, now: float) -> list[Fact | HostResolved]:
        """Return the facts among its next messages, of which ``most`` are taken; never blocks.

        It stops at a message that the supervisor has to answer, but not while a name is resolved:
        the worker may give up meanwhile, or end.
        """
        facts: list[Fact | HostResolved] = []
        while self.is_readable and most > 0 and self.job is not None and not self.needs_answer:
            most -= 1
            try:
                message = self.channel.receive(self.job)
                if message is None:
                    break
                facts += self._take(message, self.job, now)
            except ChannelClosed:
                # It is ending, and a signal changes nothing any more; or else it should.
                self.is_readable = False
                self.terminate(now)
            except TooMuch as error:
                self._give_up_on_it(error.failure)
            except (Malformed, OSError) as error:
                self._give_up_on_it(invalid_message(error))
        if self.job is None:
            self._check_idle(now)
        return facts

    @property
    def needs_answer(self) -> bool:
        """Whether the supervisor has to do something for the connection that is wanted."""
        return self.wanted is not None and not self.is_resolving

    def _take(self, message: FromWorker, job: WorkerJob, now: float) -> list[Fact | HostResolved]:
        match message:
            case LogLine():
                if self._is_wanted:
                    self._log(job, message.level, message.text, now)
                return []
            case Progress():
                self._progress = message.what
                if self._is_wanted:
                    self._log(job, Level.DEBUG, message.what, now)
                return []
            case Unprotected():
                self.unprotected.append(message.what)
                return []
            case ConnectionWanted():
                self._want(message)
                return []
            case JobEnded():
                self._has_ended_job(message, now)
                return [self._end_job(message.failure, os.EX_OK)]
        self._check(message)
        if not self._is_wanted:
            return []
        return [self._note(message, job, now)]

    def _note(
        self, message: Fact | HostResolved, job: WorkerJob, now: float
    ) -> Fact | HostResolved:
        """Count a fact of the job."""
        if is_final(message):
            self._has_result = True
            self.due = now + AFTER_RESULT
        elif isinstance(message, DiscoveryCompleted):
            self._has_answered = True
            self._targets = self._addresses = 0
            self.due = None
        elif self._has_answered and self.due is None:
            self._expect_answer(now)
        if isinstance(message, LoginSucceeded) and not (isinstance(job, LoginJob) and job.only_try):
            return self._with_connection(message)
        return message

    def _check(self, message: Fact | HostResolved) -> None:
        """Raise ``Malformed`` for a fact that may not come now."""
        if self._has_result:
            raise Malformed("a fact after the result")
        if isinstance(message, TargetDiscovered):
            self._targets += 1
            self._addresses += len(message.record.addresses)
            if self._targets > MOST_TARGETS:
                raise TooMuch(_too_much(MOST_TARGETS, "targets"))
            if self._addresses > MOST_ADDRESSES:
                raise TooMuch(_too_much(MOST_ADDRESSES, "addresses"))
        if isinstance(message, LoginSucceeded) and self._connection is None:
            raise Malformed("a login succeeded without a connection")
        if isinstance(message, DiscoveryCompleted) and isinstance(self.job, DiscoveryJob):
            if message.kept and not self.job.keep:
                raise Malformed("the discovery session was not to be kept")

    def _with_connection(self, message: LoginSucceeded) -> LoginSucceeded | LoginFailed:
        """Check that the connection stands; the daemon itself has made it."""
        try:
            assert self._connection is not None
            self._connection.getpeername()
        except OSError:
            self._drop_connection()
            return LoginFailed(message.job_id, _BROKEN)
        self.logged_in, self._connection = self._connection, None
        return message

    def _want(self, message: ConnectionWanted) -> None:
        if self.wanted is not None:
            raise Malformed("two connections at a time")
        self._connections += 1
        if self._connections > MOST_CONNECTIONS:
            raise Malformed(f"more than {MOST_CONNECTIONS} connections")
        self._drop_connection()
        self.wanted = message

    def keep_briefly(self, now: float) -> None:
        """Other idle workers can do the same jobs, so this one is kept for a burst only."""
        self.due = now + SURPLUS

    def _has_ended_job(self, message: JobEnded, now: float) -> None:
        self._drop_connection()
        if not message.is_reusable:
            self.is_ending = True
        elif not self.is_ending:
            self.due = now + IDLE
            return
        self.due = now + AFTER_SIGTERM

    def _end_job(self, failure: Failure | None, status: int) -> WorkerEnded:
        """Forget the job, which is over; return how it ended.

        A kept discovery that has answered and then ends in good order is no failure: its target
        closed the session, as targets do that do not keep discovery sessions.
        """
        assert self.job is not None
        job, self.job = self.job, None
        self.wanted, self.is_resolving = None, False
        if self._has_result or not self._is_wanted:
            return WorkerEnded(job.id)
        if failure is None and not self._has_answered:
            failure = unexpected_exit(status, self._progress)
        if self._has_answered and status == os.EX_OK and self._failure is None:
            failure = None
        return WorkerEnded(job.id, failure)

    def _check_idle(self, now: float) -> None:
        """Whatever comes without a job, the end of the channel above all, ends the worker."""
        if self.is_readable and self.channel.has_data():
            self.is_readable = False
            self.terminate(now)

    # --- steps ----------------------------------------------------------------------------------

    def _log(self, job: WorkerJob, level: Level, text: str, now: float) -> None:
        for line in self._quota.pass_on(level, text, now):
            self._write_line(job, level, line)

    def _expect_answer(self, now: float) -> None:
        assert self.job is not None
        self.due = now + self.job.deadline + GRACE if self.job.deadline else None

    def _give_up_on_it(self, failure: Failure) -> None:
        self.is_readable = False
        self._failure = self._failure or failure
        self._kill()

    def _kill(self) -> None:
        self.is_ending = True
        self.due = None
        self._send_signal(signal.SIGKILL)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            forbid_linger(self._connection)
            self._connection.close()
            self._connection = None


_BROKEN = Failure(
    Retry.SOON,
    "the connection broke right after the login",
    "look into the target's log",
)


def _too_much(most: int, what: str) -> Failure:
    return Failure(
        Retry.LATER,
        f"the target reported more than {most} {what} in one answer",
        "let the target report less to this initiator, or name its targets in /etc/iscsi.conf",
    )
