"""The end of a session that was only tried: log out on the socket of its login.

Runs inside a worker.
"""

from __future__ import annotations

import socket

from iscsid.errors import IscsidError
from iscsid.orders import Level
from iscsid.protocol.logout_exchange import LogoutExchange
from iscsid.protocol.parameters import LoginResult
from iscsid.workers.deadline import Deadline
from iscsid.workers.reporter import Reporter
from iscsid.workers.transport import ExchangeDriver, Limits

LOGOUT = 3.0
"""Seconds to wait for the Logout Response. Some targets close at once, some never answer."""


def log_out(connection: socket.socket, login: LoginResult, reporter: Reporter) -> None:
    """Log out, within bounds. What goes wrong is told and is no error: nothing hangs on it."""
    doing = "logging out"
    reporter.doing(doing)
    exchange = LogoutExchange(login)
    patience = Limits(LOGOUT, Deadline.after(LOGOUT))
    line = ExchangeDriver(connection, exchange, patience, doing, reporter)
    try:
        while not exchange.is_over:
            line.turn()
    except IscsidError as error:
        reporter.say(Level.INFO, error.what)
    if exchange.diagnostic:
        reporter.say(Level.INFO, exchange.diagnostic)
