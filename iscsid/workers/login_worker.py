"""The job of a login, and the way into any session: connect, give up privileges, log in.

A name is looked up without privileges, too. Redirections are followed with a new connection and a
login from scratch, and a target that cannot read a list of CHAP algorithms is asked again with MD5
alone; both are decided in ``protocol``. Runs inside a worker.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

from iscsid.errors import ConnectionFailed, IscsidError
from iscsid.facts import LoginSucceeded
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.orders import Level
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_exchange import RANDOM_OCTETS, LoginExchange
from iscsid.protocol.lun_identity import lower_cmd_sn
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import LoginPlan, LoginResult, Redirection
from iscsid.protocol.redirect import RedirectTrail
from iscsid.protocol.security import fallback_plan
from iscsid.protocol.vpd import comparable
from iscsid.workers.connect_errors import together
from iscsid.workers.deadline import Deadline
from iscsid.workers.logout import log_out
from iscsid.workers.lun_verification import confirm
from iscsid.workers.reporter import Reporter
from iscsid.workers.sandbox import Confine
from iscsid.workers.transport import ExchangeDriver, Limits, StreamEnded, StreamReset, connect


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A connection in full feature phase, with nothing read beyond the last Login Response."""

    connection: socket.socket
    result: LoginResult
    portal: Portal
    moved_to: Portal | None
    patience: Limits


def run_login(job: LoginJob, reporter: Reporter, confine: Confine) -> None:
    """Do the job; raises ``IscsidError`` where it fails."""
    identities = comparable(job.identities)
    lower = replace(job, login=lower_cmd_sn(job.login, identities))
    entry = log_in(lower, reporter, confine, window=job.tcp_window_size)
    result = entry.result
    with entry.connection:
        if identities:
            result = confirm(entry.connection, result, identities, entry.patience, reporter)
        success = LoginSucceeded(job.id, result, entry.portal, entry.moved_to)
        if job.only_try:
            # Told first: what has been reached does not depend on how the target takes the rest.
            reporter.report(success)
            log_out(entry.connection, result, reporter)
        else:
            entry.connection.settimeout(None)
            reporter.report(success, entry.connection)


def log_in(
    job: LoginJob | DiscoveryJob, reporter: Reporter, confine: Confine, *, window: int = 0
) -> LoggedIn:
    """Connect and log in, wherever the target sends us; the connection is the caller's.

    ``window`` is the size of the socket's buffers, 0 for the kernel's own choice. Raises
    ``IscsidError``.
    """
    deadline = Deadline.after(job.deadline, words=f"the {job.deadline:g} s for all of the login")
    return LoginAttempt(job, reporter, confine, window, deadline).log_in()


class LoginAttempt:
    """One attempt to log in, over as many connections as it takes."""

    def __init__(
        self,
        job: LoginJob | DiscoveryJob,
        reporter: Reporter,
        confine: Confine,
        window: int,
        deadline: Deadline,
    ) -> None:
        self._job = job
        self._reporter = reporter
        self._confine = confine
        self._is_confined = False
        self._window = window
        self._patience = Limits(job.timeouts.login, deadline)

    def log_in(self) -> LoggedIn:
        plan = self._job.login
        trails: tuple[RedirectTrail, ...] = (RedirectTrail(self._job.portal),)
        while True:
            connection, trail = self._reach(trails)
            try:
                outcome = self._log_in(connection, plan)
            except IscsidError as error:
                connection.close()
                plan, trails = self._simplify(plan, error), (trail,)
            except BaseException:
                connection.close()
                raise
            else:
                if isinstance(outcome, LoginResult):
                    patience = self._patience
                    return LoggedIn(connection, outcome, trail.portal, trail.moved_to, patience)
                connection.close()
                trails = self._follow(trail, outcome)

    def _reach(self, trails: tuple[RedirectTrail, ...]) -> tuple[socket.socket, RedirectTrail]:
        """Connect to the first portal that can be connected to."""
        failures: list[ConnectionFailed] = []
        for trail in trails:
            try:
                connection = connect(
                    trail.portal,
                    self._patience,
                    self._reporter,
                    self._confine_once,
                    window=self._window,
                )
            except ConnectionFailed as error:
                failures.append(error)
            else:
                return connection, trail
        raise together(failures)

    def _log_in(self, connection: socket.socket, plan: LoginPlan) -> LoginResult | Redirection:
        self._confine_once()
        doing = "logging in"
        self._reporter.doing(doing)
        exchange = LoginExchange(plan, os.urandom(RANDOM_OCTETS))
        try:
            return self._converse(connection, exchange, doing)
        except (StreamEnded, StreamReset) as error:
            # A target that closes with our request unread resets; it means the same.
            raise exchange.connection_closed() from error

    def _confine_once(self) -> None:
        if not self._is_confined:
            self._confine()
            self._is_confined = True

    def _converse(
        self, connection: socket.socket, exchange: LoginExchange, doing: str
    ) -> LoginResult | Redirection:
        limit, patience = self._job.timeouts.auth, self._patience
        words = f"the {limit:g} s for authentication"
        proof = Limits(patience.timeout, Deadline.after(limit, patience.deadline, words))
        line = ExchangeDriver(connection, exchange, proof, doing, self._reporter)
        while exchange.result is None and exchange.stage is Stage.SECURITY_NEGOTIATION:
            line.turn()
        line = ExchangeDriver(connection, exchange, patience, doing, self._reporter)
        while exchange.result is None:
            line.turn()
        return exchange.result

    def _simplify(self, plan: LoginPlan, error: IscsidError) -> LoginPlan:
        """Return what to try instead, or raise ``error`` where there is nothing."""
        simpler = fallback_plan(plan, error)
        if simpler is None:
            raise error
        self._reporter.say(Level.INFO, f"{error.what}; trying once more with less")
        return simpler

    def _follow(self, trail: RedirectTrail, redirection: Redirection) -> tuple[RedirectTrail, ...]:
        trails = trail.follow(redirection)
        how = "for good" if redirection.permanent else "for now"
        portals = ", ".join(str(each.portal) for each in trails)
        self._reporter.say(Level.INFO, f"sent on from {trail.portal} to {portals} {how}")
        return trails
