"""An exchange and a scripted target joined in memory, as if by a cable."""

from __future__ import annotations

from typing import Protocol

from iscsid.errors import IscsidError
from iscsid.protocol.chap import RANDOM_OCTETS
from iscsid.protocol.login_exchange import LoginExchange
from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import Authentication, Isid, LoginPlan, LoginResult, Offer
from tests.target.assertions import check_login
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget

INITIATOR = IscsiName("iqn.2024-01.org.example:initiator")
TARGET = IscsiName("iqn.2024-01.org.example:target")
ISID = Isid(bytes.fromhex("00023d000001"))
RANDOM = bytes(range(RANDOM_OCTETS))


class Exchange(Protocol):
    @property
    def bytes_wanted(self) -> int: ...
    def data_to_send(self) -> bytes: ...
    def receive_data(self, data: bytes) -> None: ...


def make_plan(
    *,
    discovery: bool = False,
    authentication: Authentication | None = None,
    offer: Offer | None = None,
    cmd_sn: int = 1,
    skip_security: bool = False,
) -> LoginPlan:
    """Make a plan of which a test only has what matters to it."""
    return LoginPlan(
        initiator_name=INITIATOR,
        target_name=None if discovery else TARGET,
        isid=ISID,
        cmd_sn=cmd_sn,
        authentication=authentication or Authentication(),
        offer=offer or Offer(),
        skip_security=skip_security,
    )


def carry(exchange: Exchange, target: ScriptedTarget, step: int = 0) -> bool:
    """Carry octets to and fro until neither side sends; ``False``: the target hung up.

    The exchange gets at most ``step`` octets at once, and never more than it wants.
    """
    line = b""
    while True:
        target.receive_data(exchange.data_to_send())
        line += target.data_to_send()
        wanted = min(exchange.bytes_wanted, step or len(line))
        if not line or not wanted:
            assert not (line and exchange.bytes_wanted), "the exchange stopped reading"
            return not target.is_closed
        exchange.receive_data(line[:wanted])
        line = line[wanted:]


def log_in(
    script: Script | None = None,
    plan: LoginPlan | None = None,
    *,
    random_octets: bytes = RANDOM,
    step: int = 0,
    check: bool = True,
) -> tuple[LoginExchange, ScriptedTarget]:
    """Log in to a scripted target, and hold every request against A1 to A18.

    Raises what the exchange raises; where the target hangs up, what the exchange makes of that.
    """
    exchange = LoginExchange(plan or make_plan(), random_octets)
    target = ScriptedTarget(script)
    try:
        if not carry(exchange, target, step) and exchange.result is None:
            raise exchange.connection_closed()
    finally:
        if check:
            check_login(target.login_requests, target.sent)
            assert not target.diagnostics
    if isinstance(exchange.result, LoginResult):
        assert exchange.bytes_wanted == 0, "A18: a logged-in connection is not read any more"
        assert exchange.data_to_send() == b"", "A18: nothing is sent after the last response"
    return exchange, target


def failure_of(
    script: Script | None = None,
    plan: LoginPlan | None = None,
    *,
    random_octets: bytes = RANDOM,
) -> IscsidError:
    """Return the exception in which a login ends."""
    try:
        exchange, _ = log_in(script, plan, random_octets=random_octets)
    except IscsidError as error:
        return error
    raise AssertionError(f"the login went through: {exchange.result}")


def result_of(script: Script | None = None, plan: LoginPlan | None = None) -> LoginResult:
    """Return what a login that goes through agrees on."""
    exchange, _ = log_in(script, plan)
    assert isinstance(exchange.result, LoginResult)
    return exchange.result
