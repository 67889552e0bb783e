"""TCP for an exchange of ``protocol``: connect, send, and read exactly.

The one place between the pure state machines and a socket. It reads as many octets as the exchange
wants and never one more, because what follows the last Login Response belongs to the kernel. May
touch TCP sockets and the clock; runs inside a worker only.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from iscsid.errors import ConnectionFailed, InvalidName
from iscsid.orders import Level
from iscsid.protocol.names import Portal, is_numeric, parse_portal
from iscsid.protocol.trace import Trace
from iscsid.workers.connect_errors import (
    connection_failed,
    name_files_unreadable,
    timed_out,
    together,
)
from iscsid.workers.reporter import Reporter

_AT_ONCE = 65536
"""Octets of one read at most, whatever length a PDU announces."""
_MOST_SECONDS, _MOST_QUESTIONS = 32767, 127
"""What TCP takes for the time between two questions, and for their number (tcp(7))."""


class Exchange(Protocol):
    """What login and discovery have in common; see ``iscsid.protocol``."""

    @property
    def trace(self) -> Trace:
        """What has passed, for the log."""

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read now, at most."""

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come whose rest has not."""

    def data_to_send(self) -> bytes:
        """Take what is to be sent, empty for nothing."""

    def receive_data(self, data: bytes) -> None:
        """Take what was read."""


class StreamEnded(ConnectionFailed):
    """The target has closed the connection."""


class StreamReset(ConnectionFailed):
    """The target has reset the connection."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, infinitely far away if there is no limit."""

    at: float
    words: str
    """What the limit was: "15 s"."""

    @classmethod
    def after(cls, seconds: float, outer: Deadline | None = None, words: str = "") -> Deadline:
        """Begin a limit of ``seconds`` (0 is none) that cannot reach beyond the ``outer`` one."""
        at = time.monotonic() + seconds if seconds else math.inf
        own = cls(at, words or f"{seconds:g} s")
        return outer if outer is not None and outer.at <= at else own

    def left(self, doing: str) -> float | None:
        """Return the seconds that are left for ``doing`` something, ``None`` for any number.

        Raises ``ConnectionFailed`` when there are none.
        """
        if self.at == math.inf:
            return None
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise timed_out(doing, self.words)
        return seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for a connection, for each answer on it, and for all of it together."""

    timeout: float
    """Seconds for each address that is tried and for each answer; 0 is no limit."""
    deadline: Deadline
    connect_timeout: float = 0
    """Seconds for each address, if that has another limit."""


def connect(portal: Portal, limits: Limits, reporter: Reporter) -> socket.socket:
    """Return a connection to ``portal``, all of whose addresses are tried in turn.

    The daemon resolves the name and begins each connection. Raises ``ConnectionFailed``, which
    names every address that was tried.
    """
    failures: list[ConnectionFailed] = []
    doing = f"connecting to {portal}" if is_numeric(portal) else f"resolving {portal.host}"
    index, count = 0, 1
    while index < count:
        if index == 0:
            reporter.progress(doing)
        try:
            attempt = reporter.connect(portal, index, limits.deadline.left(doing))
        except TimeoutError:
            raise timed_out(doing, limits.deadline.words) from None
        answer, count = attempt.answer, attempt.answer.count
        if answer.resolver_error:
            unresolved = socket.gaierror(answer.resolver_error, "")
            if answer.unreadable:
                raise name_files_unreadable(doing, unresolved, answer.unreadable)
            raise connection_failed(doing, unresolved)
        doing = f"connecting to {_show(portal, answer.address)}"
        if index > 0 or not is_numeric(portal):
            reporter.progress(doing)
        limit = Deadline.after(limits.connect_timeout or limits.timeout, limits.deadline)
        try:
            if attempt.connection is None:
                raise OSError(answer.error, "")
            return _wait_for_connection(attempt.connection, limit.left(doing))
        except OSError as error:
            failures.append(_word(doing, error, limit))
        index += 1
    raise together(failures)


def peer_of(connection: socket.socket) -> Portal | None:
    """Return the address at the other end, ``None`` if the connection is gone."""
    try:
        host, port = connection.getpeername()[:2]
        return parse_portal(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except (OSError, InvalidName):
        return None


def ask_after_silence(connection: socket.socket, silence: int, reply: int) -> None:
    """Let TCP ask after ``silence`` whether the target is there; break without a ``reply`` in time.

    Both are in seconds; with 0 for either it never asks. A discovery session may send no ping of
    its own, and its target may be gone without a word.
    """
    asks = bool(silence and reply)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, asks)
    if asks:
        pause = min(-(-reply // _MOST_QUESTIONS), _MOST_SECONDS)
        questions = min(-(-reply // pause), _MOST_QUESTIONS)
        tcp = socket.IPPROTO_TCP
        connection.setsockopt(tcp, socket.TCP_KEEPIDLE, min(silence, _MOST_SECONDS))
        connection.setsockopt(tcp, socket.TCP_KEEPINTVL, pause)
        connection.setsockopt(tcp, socket.TCP_KEEPCNT, questions)


class ExchangeDriver:
    """A connection with an exchange at its near end.

    ``doing`` ("logging in") is for the messages, ``reporter`` gets the trace of the exchange as it
    goes. The socket stays the caller's. Every method raises ``ConnectionFailed``, and what the
    exchange raises.
    """

    def __init__(
        self,
        connection: socket.socket,
        exchange: Exchange,
        limits: Limits,
        doing: str,
        reporter: Reporter,
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._limits = limits
        self._doing = doing
        self._reporter = reporter
        self._answer_due = limits.deadline

    def step(self) -> None:
        """Send what is to be sent; if there is nothing, read a part of what is wanted.

        An answer is due within the timeout, however small the pieces in which it comes.
        """
        if self.send():
            self._answer_due = Deadline.after(self._limits.timeout, self._limits.deadline)
        else:
            self.receive(self._answer_due)

    def send(self) -> bool:
        """Send what is to be sent; return whether there was anything."""
        data = self._exchange.data_to_send()
        self._log_trace()
        if data:
            with self._worded(Deadline.after(self._limits.timeout, self._limits.deadline)):
                self._connection.sendall(data)
        return bool(data)

    @property
    def rest_due(self) -> float:
        """When the rest of a PDU is due whose first part has come, on the monotonic clock."""
        return math.inf if self._exchange.is_between_pdus else self._answer_due.at

    def receive_some(self) -> None:
        """Read once from a connection that is readable, outside of a question and its answer."""
        if self._exchange.is_between_pdus:
            self._answer_due = Deadline.after(self._limits.timeout, self._limits.deadline)
        self.receive(self._answer_due)

    def check_rest(self) -> None:
        """Raise ``ConnectionFailed`` if the rest of a PDU has not come in time."""
        if self.rest_due <= time.monotonic():
            raise self._rest_missing(self._answer_due)

    def receive(self, due: Deadline) -> None:
        """Read once, at most what is wanted. Raises ``StreamEnded`` at the end of the stream."""
        with self._worded(due):
            received = self._connection.recv(min(self._exchange.bytes_wanted, _AT_ONCE))
        if not received:
            raise StreamEnded(f"{self._doing}: the target closed the connection")
        try:
            self._exchange.receive_data(received)
        finally:
            self._log_trace()

    def _rest_missing(self, due: Deadline) -> ConnectionFailed:
        return ConnectionFailed(
            f"{self._doing}: the target sent part of a PDU, and the rest not within {due.words}",
            advice="look into the target's log",
        )

    def _log_trace(self) -> None:
        if self._reporter.wants(Level.DEBUG):
            for line in self._exchange.trace.take():
                self._reporter.log(Level.DEBUG, line)
        else:
            self._exchange.trace.forget()

    @contextmanager
    def _worded(self, due: Deadline) -> Iterator[None]:
        """Limit one call upon the socket, and put its errors into words."""
        try:
            self._connection.settimeout(due.left(self._doing))
        except ConnectionFailed as error:
            # Octets that come one at a time: each wait was short, and all together too long.
            if self._exchange.is_between_pdus:
                raise
            raise self._rest_missing(due) from error
        try:
            yield
        except (ConnectionResetError, BrokenPipeError) as error:
            words = connection_failed(self._doing, error)
            raise StreamReset(words.what, advice=words.advice) from error
        except OSError as error:
            if _is_our_limit(error) and not self._exchange.is_between_pdus:
                raise self._rest_missing(due) from error
            raise _word(self._doing, error, due) from error


def _word(doing: str, error: OSError, limit: Deadline) -> ConnectionFailed:
    """Word an error; a limit of our own, which has no errno, is distinguished from TCP's."""
    if _is_our_limit(error):
        return timed_out(doing, limit.words)
    return connection_failed(doing, error)


def _is_our_limit(error: OSError) -> bool:
    return isinstance(error, TimeoutError) and error.errno is None


def _wait_for_connection(connection: socket.socket, seconds: float | None) -> socket.socket:
    """Return the connection once it is made; raises ``OSError`` if that fails."""
    try:
        poll = select.poll()
        poll.register(connection, select.POLLOUT)
        if not poll.poll(None if seconds is None else seconds * 1000):
            raise TimeoutError
        error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # Reset, and not refused, is a connection that was made: the first exchange on it fails.
        if error not in (0, errno.ECONNRESET):
            raise OSError(error, "")
    except BaseException:
        connection.close()
        raise
    return connection


def _show(portal: Portal, address: str) -> str:
    return str(portal) if portal.host == address else f"{portal} ({address})"
