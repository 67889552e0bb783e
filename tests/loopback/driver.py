"""The exchanges over a real socket: the smallest driver there can be, for real targets.

Blocking, without a fork, and in no way the daemon's own; it keeps every octet, so that a test can
hold each login against A1 to A18. Works inside the virtual machine as well as outside.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from iscsid.errors import IscsidError
from iscsid.protocol.codes import RESERVED_TAG
from iscsid.protocol.discovery_exchange import DiscoveryExchange, DiscoveryOutcome
from iscsid.protocol.login_exchange import RANDOM_OCTETS, LoginExchange
from iscsid.protocol.names import DiscoveryRecord, Portal
from iscsid.protocol.parameters import Digest, LoginPlan, LoginResult, Redirection
from iscsid.protocol.pdu import (
    BHS_LENGTH,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    data_segment_length,
    decode,
    padding,
)
from iscsid.protocol.redirect import RedirectTrail
from iscsid.protocol.security import fallback_plan
from iscsid.protocol.serial import add
from tests.support.patience import PATIENCE
from tests.target.assertions import check_login

TASK_TAG = 0x51


class TargetClosed(AssertionError):
    """The target closed the connection instead of answering."""


@dataclass
class Session:
    """A login that is through, with its connection."""

    connection: socket.socket
    result: LoginResult
    trail: RedirectTrail
    trace: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.close()

    def ping(self) -> NopIn:
        """Send a Nop-Out that is a command, and return the answer: the session is alive."""
        request = NopOut(
            immediate=False,
            initiator_task_tag=TASK_TAG,
            cmd_sn=self.result.cmd_sn,
            exp_stat_sn=self.result.exp_stat_sn,
            data=b"are you there?",
        )
        answer = self.ask(request)
        assert isinstance(answer, NopIn), answer
        assert (answer.initiator_task_tag, answer.data) == (TASK_TAG, request.data)
        assert answer.stat_sn == self.result.exp_stat_sn
        assert answer.exp_cmd_sn == add(self.result.cmd_sn)
        return answer

    def log_out(self) -> None:
        request = LogoutRequest(
            initiator_task_tag=TASK_TAG + 1,
            cmd_sn=add(self.result.cmd_sn),
            exp_stat_sn=add(self.result.exp_stat_sn),
        )
        # istgt now and then closes before its own thread for answers has sent this one.
        with suppress(TargetClosed):
            answer = self.ask(request)
            assert isinstance(answer, LogoutResponse), answer

    def ask(self, request: Pdu) -> Pdu:
        """Send a PDU and read one, with the digests that were agreed."""
        octets, agreed = request.encode(), self.result.parameters
        header, data = octets[:BHS_LENGTH], octets[BHS_LENGTH:]
        header += _digest(agreed.header_digest, header)
        self.connection.sendall(header + data + (data and _digest(agreed.data_digest, data)))
        until = time.monotonic() + PATIENCE
        while isinstance(answer := self._read_pdu(), NopIn):
            # A ping of the target's own, which istgt sends to any session that is idle.
            if answer.initiator_task_tag != RESERVED_TAG:
                break
            assert time.monotonic() < until, "the target pings and does not answer"
        return answer

    def _read_pdu(self) -> Pdu:
        agreed = self.result.parameters
        header = self._read(BHS_LENGTH)
        expected = _digest(agreed.header_digest, header)
        assert self._read(len(expected)) == expected
        length = data_segment_length(header)
        data = self._read(length + padding(length))
        if data:
            expected = _digest(agreed.data_digest, data)
            assert self._read(len(expected)) == expected
        return decode(header, data[:length])

    def _read(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            part = self.connection.recv(count - len(octets))
            if not part:
                raise TargetClosed("the target closed the session")
            octets += part
        return octets


def _digest(kind: Digest, octets: bytes) -> bytes:
    return crc32c(octets).to_bytes(4, "little") if kind is Digest.CRC32C else b""


def crc32c(octets: bytes) -> int:
    register = 0xFFFFFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@dataclass
class Recorder:
    """What passed on one connection, PDU by PDU."""

    sent: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)


def connect(portal: Portal) -> socket.socket:
    return socket.create_connection((portal.host, portal.port), timeout=PATIENCE)


def attempt(
    connection: socket.socket, plan: LoginPlan, recorder: Recorder
) -> tuple[LoginExchange, LoginResult | Redirection]:
    """Log in on one connection; raises what the exchange raises."""
    exchange = LoginExchange(plan, os.urandom(RANDOM_OCTETS))
    while exchange.result is None:
        if data := exchange.data_to_send():
            connection.sendall(data)
            recorder.sent.append(data)
            recorder.received.append(b"")
        try:
            octets = connection.recv(exchange.bytes_wanted)
        except ConnectionResetError:
            octets = b""
        if not octets:
            raise exchange.connection_closed()
        recorder.received[-1] += octets
        exchange.receive_data(octets)
    return exchange, exchange.result


def log_in(
    portal: Portal, plan: LoginPlan, *, connect: Callable[[Portal], socket.socket] = connect
) -> Session:
    """Log in, follow redirections, fall back to MD5 where that is to be tried."""
    trails = [RedirectTrail(portal)]
    while True:
        trail = trails.pop(0)
        connection = connect(trail.portal)
        recorder = Recorder()
        try:
            exchange, result = attempt(connection, plan, recorder)
        except IscsidError as error:
            connection.close()
            second = fallback_plan(plan, error)
            if second is None:
                raise
            plan, trails = second, [trail]
            continue
        finally:
            check_login(recorder.sent, recorder.received)
        if isinstance(result, LoginResult):
            return Session(connection, result, trail, exchange.trace.take())
        connection.close()
        trails = list(trail.follow(result))


def discover(portal: Portal, plan: LoginPlan) -> tuple[DiscoveryRecord, ...]:
    """Log in to a discovery session, ask SendTargets, log out."""
    with log_in(portal, plan) as session:
        exchange = DiscoveryExchange(session.result, session.trail.portal)
        records: list[DiscoveryRecord] = []
        is_leaving = False
        while exchange.outcome is not DiscoveryOutcome.LOGGED_OUT:
            session.connection.sendall(exchange.data_to_send())
            octets = session.connection.recv(exchange.bytes_wanted)
            if not octets and is_leaving:
                break
            if not octets:
                raise TargetClosed("the target closed the discovery session")
            exchange.receive_data(octets)
            records += exchange.take_records()
            if exchange.outcome is DiscoveryOutcome.ANSWERED:
                exchange.log_out()
                is_leaving = True
    return tuple(records)
