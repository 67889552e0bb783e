"""Asks the LUNs what they are, between the login and the hand-over of a session that comes back.

What is asked and what follows from the answers is decided in ``protocol.identity``. Runs inside a
worker.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from iscsid.errors import IscsidError
from iscsid.orders import Level
from iscsid.protocol.lun_identity import LunIdentityExchange
from iscsid.protocol.parameters import LoginResult
from iscsid.protocol.vpd import LunIdentity
from iscsid.workers.logout import log_out
from iscsid.workers.reporter import Reporter
from iscsid.workers.transport import ExchangeDriver, Limits


def confirm(
    connection: socket.socket,
    login: LoginResult,
    identities: Sequence[LunIdentity],
    patience: Limits,
    reporter: Reporter,
) -> LoginResult:
    """Return the login with its numbers moved on; raise ``IscsidError`` if anything is not as it
    was. Then nobody is logged in any more."""
    doing = "asking the LUNs what they are"
    reporter.doing(doing)
    exchange = LunIdentityExchange(login, identities)
    line = ExchangeDriver(connection, exchange, patience, doing, reporter)
    while exchange.result is None:
        line.turn()
    failure = exchange.failure
    if failure is not None:
        log_out(connection, exchange.result, reporter)
        raise IscsidError(failure.what, advice=failure.advice, retry=failure.retry)
    reporter.say(Level.DEBUG, f"{len(identities)} LUNs are what they were")
    return exchange.result
