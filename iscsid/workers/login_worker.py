"""The login job, and the login of a discovery: connect and log in.

A redirection is followed with a new connection and a login from scratch. A target that does not
accept a list of CHAP algorithms is asked again with MD5 alone. Both are decided in ``protocol``.
Runs inside a worker.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from iscsid.errors import ConnectionFailed, IscsidError
from iscsid.facts import LoginFailed, LoginSucceeded
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.orders import Level
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_exchange import RANDOM_OCTETS, LoginExchange
from iscsid.protocol.logout_exchange import LogoutExchange
from iscsid.protocol.lun_identity import LunIdentityExchange, lower_cmd_sn
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import LoginPlan, LoginResult, Redirection
from iscsid.protocol.redirect import RedirectTrail
from iscsid.protocol.security import fallback_plan
from iscsid.protocol.vpd import LunIdentity, ReplacedLun, comparable
from iscsid.workers.connect_errors import together
from iscsid.workers.reporter import Reporter
from iscsid.workers.transport import (
    Deadline,
    ExchangeDriver,
    Limits,
    StreamEnded,
    StreamReset,
    connect,
)

LOGOUT = 3.0
"""Seconds to wait for the Logout Response. Some targets close at once, some never answer."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A connection in full feature phase, with nothing read beyond the last Login Response."""

    connection: socket.socket
    result: LoginResult
    portal: Portal
    moved_to: Portal | None
    limits: Limits


def run_login(job: LoginJob, reporter: Reporter) -> None:
    """Do the job; raises ``IscsidError`` if it fails."""
    identities = comparable(job.identities)
    lower = replace(job, login=lower_cmd_sn(job.login, identities))
    logged_in = log_in(lower, reporter)
    result = logged_in.result
    with logged_in.connection:
        if identities:
            exchange = ask_luns(logged_in, identities, job.accepted, reporter)
            assert exchange.result is not None
            if exchange.failure is not None:
                log_out(logged_in.connection, exchange.result, reporter)
                reporter.report(LoginFailed(job.id, exchange.failure, tuple(exchange.replaced)))
                return
            result = exchange.result
        # With only_try, too, before the logout: the login has succeeded, however that goes.
        reporter.report(LoginSucceeded(job.id, result, logged_in.portal, logged_in.moved_to))
        if job.only_try:
            log_out(logged_in.connection, result, reporter)


def log_in(job: LoginJob | DiscoveryJob, reporter: Reporter) -> LoggedIn:
    """Connect and log in, wherever the target redirects us; the connection is the caller's.

    Raises ``IscsidError``.
    """
    deadline = Deadline.after(job.deadline, words=f"the {job.deadline:g} s for all of the login")
    return LoginAttempt(job, reporter, deadline).log_in()


class LoginAttempt:
    """One attempt to log in, over one or more connections."""

    def __init__(
        self, job: LoginJob | DiscoveryJob, reporter: Reporter, deadline: Deadline
    ) -> None:
        self._job = job
        self._reporter = reporter
        connect_timeout = job.connect_timeout if isinstance(job, LoginJob) else 0
        self._limits = Limits(job.timeouts.login, deadline, connect_timeout)

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
                    limits = self._limits
                    return LoggedIn(connection, outcome, trail.portal, trail.moved_to, limits)
                connection.close()
                trails = self._follow(trail, outcome)

    def _reach(self, trails: tuple[RedirectTrail, ...]) -> tuple[socket.socket, RedirectTrail]:
        """Connect to the first portal that can be connected to."""
        failures: list[ConnectionFailed] = []
        for trail in trails:
            try:
                connection = connect(trail.portal, self._limits, self._reporter)
            except ConnectionFailed as error:
                failures.append(error)
            else:
                return connection, trail
        raise together(failures)

    def _log_in(self, connection: socket.socket, plan: LoginPlan) -> LoginResult | Redirection:
        doing = "logging in"
        self._reporter.progress(doing)
        exchange = LoginExchange(plan, os.urandom(RANDOM_OCTETS))
        try:
            return self._converse(connection, exchange, doing)
        except (StreamEnded, StreamReset) as error:
            # A target that closes with our request unread resets; it means the same.
            raise exchange.connection_closed() from error

    def _converse(
        self, connection: socket.socket, exchange: LoginExchange, doing: str
    ) -> LoginResult | Redirection:
        seconds, limits = self._job.timeouts.auth, self._limits
        words = f"the {seconds:g} s for authentication"
        proof = Limits(limits.timeout, Deadline.after(seconds, limits.deadline, words))
        driver = ExchangeDriver(connection, exchange, proof, doing, self._reporter)
        while exchange.result is None and exchange.stage is Stage.SECURITY_NEGOTIATION:
            driver.step()
        driver = ExchangeDriver(connection, exchange, limits, doing, self._reporter)
        while exchange.result is None:
            driver.step()
        return exchange.result

    def _simplify(self, plan: LoginPlan, error: IscsidError) -> LoginPlan:
        """Return the plan to try instead; raise ``error`` if there is none."""
        simpler = fallback_plan(plan, error)
        if simpler is None:
            raise error
        self._reporter.log(Level.INFO, f"{error.what}; retrying with CHAP MD5 only")
        return simpler

    def _follow(self, trail: RedirectTrail, redirection: Redirection) -> tuple[RedirectTrail, ...]:
        trails = trail.follow(redirection)
        how = "for good" if redirection.permanent else "for now"
        portals = ", ".join(str(each.portal) for each in trails)
        self._reporter.log(Level.INFO, f"sent on from {trail.portal} to {portals} {how}")
        return trails


def ask_luns(
    logged_in: LoggedIn,
    identities: Sequence[LunIdentity],
    accepted: Collection[ReplacedLun],
    reporter: Reporter,
) -> LunIdentityExchange:
    """Verify the LUNs before a session that comes back is passed to the kernel.

    What is asked and what follows from the answers is decided in ``protocol.lun_identity``. Return
    the exchange when it is over. Raises ``IscsidError`` if the target breaks a rule.
    """
    doing = "asking the LUNs what they are"
    reporter.progress(doing)
    exchange = LunIdentityExchange(logged_in.result, identities, accepted)
    driver = ExchangeDriver(logged_in.connection, exchange, logged_in.limits, doing, reporter)
    while exchange.result is None:
        driver.step()
    if exchange.failure is None:
        reporter.log(Level.DEBUG, f"{len(identities)} LUNs are what they were")
    return exchange


def log_out(connection: socket.socket, login: LoginResult, reporter: Reporter) -> None:
    """Log out, within ``LOGOUT`` seconds. A failure is logged only: nothing depends on it."""
    doing = "logging out"
    reporter.progress(doing)
    exchange = LogoutExchange(login)
    limits = Limits(LOGOUT, Deadline.after(LOGOUT))
    driver = ExchangeDriver(connection, exchange, limits, doing, reporter)
    try:
        while not exchange.is_over:
            driver.step()
    except IscsidError as error:
        reporter.log(Level.INFO, error.what)
    if exchange.diagnostic:
        reporter.log(Level.INFO, exchange.diagnostic)
