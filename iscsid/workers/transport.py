"""TCP for an exchange of the protocol room: resolve, connect, send, and read exactly.

The one place between the pure machines and a socket. It reads as many octets as the exchange
wants and never one more, because what follows the last Login Response belongs to the kernel. May
touch the resolver, TCP sockets and the clock; runs inside a worker only.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from iscsid.config.settings import SocketOptions
from iscsid.errors import ConnectionFailed, InvalidName
from iscsid.orders import Level
from iscsid.protocol.names import Portal, parse_portal
from iscsid.protocol.trace import Trace
from iscsid.workers.connect_errors import (
    connection_failed,
    name_files_unreadable,
    timed_out,
    together,
)
from iscsid.workers.reporter import Reporter
from iscsid.workers.sandbox import Confine

ADDRESSES = 16
"""The most addresses of one name that are tried."""
_AT_ONCE = 65536
"""Octets of one read at most, whatever length a PDU announces."""
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
"""Of asm-generic/socket.h, which Python's library does not name."""
_SILENCE, _REPLY = 60, 60
"""Seconds of silence before TCP asks whether the target is there, and for the answer."""
_MOST_SECONDS, _MOST_QUESTIONS = 32767, 127
"""What TCP takes for the time between two questions, and for their number (tcp(7))."""

Address = tuple[socket.AddressFamily, tuple[str | bytes | int, ...]]

_IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>; Python 3.11 has no name for it

BY_ROUTES = SocketOptions()

_NAME_FILES = ("/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf")


class Exchange(Protocol):
    """What login and discovery have in common; see ``iscsid.protocol``."""

    @property
    def trace(self) -> Trace:
        """What has passed, for the log."""

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read now, at most."""

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
    """A moment on the monotonic clock, infinitely far away where there is no limit."""

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


def connect(
    portal: Portal,
    limits: Limits,
    reporter: Reporter,
    confine: Confine,
    *,
    window: int = 0,
    options: SocketOptions = BY_ROUTES,
) -> socket.socket:
    """Return a connection to ``portal``, all of whose addresses are tried in turn.

    ``confine`` is called before a name is looked up, since the answer comes from the network.
    ``window`` is the size of the socket's buffers in octets, 0 for the kernel's own choice; once
    confined, more than the system allows everybody is not to be had. Raises ``ConnectionFailed``,
    which tells of every address that was tried.
    """
    failures: list[ConnectionFailed] = []
    for family, address in _resolve(portal, reporter, confine):
        doing = f"connecting to {_show(portal, str(address[0]))}"
        reporter.progress(doing)
        limit = Deadline.after(limits.timeout, limits.deadline)
        seconds = limit.left(doing)
        try:
            return _connect(family, address, seconds, window, options)
        except OSError as error:
            failures.append(_word(doing, error, limit))
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
        """Send what is to be sent; where there is nothing, read a part of what is wanted.

        An answer is due within the patience's timeout, however small the pieces in which it comes.
        """
        if self.send():
            self._answer_due = Deadline.after(self._limits.timeout, self._limits.deadline)
        else:
            self.receive(self._answer_due)

    def send(self) -> bool:
        """Send what is to be sent; say whether there was anything."""
        data = self._exchange.data_to_send()
        self._log_trace()
        if data:
            with self._worded(Deadline.after(self._limits.timeout, self._limits.deadline)):
                self._connection.sendall(data)
        return bool(data)

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

    def _log_trace(self) -> None:
        if self._reporter.wants(Level.DEBUG):
            for line in self._exchange.trace.take():
                self._reporter.log(Level.DEBUG, line)
        else:
            self._exchange.trace.forget()

    @contextmanager
    def _worded(self, due: Deadline) -> Iterator[None]:
        """Limit one call upon the socket, and put its errors into words."""
        self._connection.settimeout(due.left(self._doing))
        try:
            yield
        except (ConnectionResetError, BrokenPipeError) as error:
            words = connection_failed(self._doing, error)
            raise StreamReset(words.what, advice=words.advice) from error
        except OSError as error:
            raise _word(self._doing, error, due) from error


def _word(doing: str, error: OSError, limit: Deadline) -> ConnectionFailed:
    """Word an error, and tell the end of our own patience, without a number, from TCP's."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return timed_out(doing, limit.words)
    return connection_failed(doing, error)


def _resolve(portal: Portal, reporter: Reporter, confine: Confine) -> Sequence[Address]:
    """Return the addresses of a portal, which is at least one; raises ``ConnectionFailed``."""
    try:
        return _look_up(portal, socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        doing = f"resolving {portal.host}"
        reporter.progress(doing)
        if ":" in portal.host:
            # An IPv6 address needs no name service: what is unknown is the interface behind it.
            raise connection_failed(doing, OSError(errno.ENODEV, "")) from error
    confine()
    try:
        return _look_up(portal, 0)
    except socket.gaierror as error:
        if files := _unreadable_name_files():
            raise name_files_unreadable(doing, error, files) from error
        raise connection_failed(doing, error) from error


def _unreadable_name_files() -> list[str]:
    """Return the name service's files that this process may not read: glibc ignores them."""
    unreadable = []
    for path in _NAME_FILES:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except PermissionError:
            unreadable.append(path)
        except OSError:
            continue  # a file that is not there changes nothing
    return unreadable


def _look_up(portal: Portal, flags: int) -> Sequence[Address]:
    # As octets, because for a string Python would load its codec for international names first,
    # from a disk that may be waiting for this very login.
    found = socket.getaddrinfo(
        portal.host.encode("ascii"),
        portal.port,
        type=socket.SOCK_STREAM,
        proto=socket.IPPROTO_TCP,
        flags=flags | socket.AI_NUMERICSERV,
    )
    return [*dict.fromkeys((family, address) for family, _, _, _, address in found)][:ADDRESSES]


def _connect(
    family: socket.AddressFamily,
    address: tuple[str | bytes | int, ...],
    seconds: float | None,
    window: int,
    options: SocketOptions,
) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        _set_options(connection, window)
        _bind(connection, family, options)
        connection.settimeout(seconds)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_options(connection: socket.socket, window: int) -> None:
    """All of it before connecting: TCP announces its window with the first segment (tcp(7))."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ask_after_silence(connection, _SILENCE, _REPLY)
    if window:
        _set_buffer(connection, _SO_RCVBUFFORCE, socket.SO_RCVBUF, window)
        _set_buffer(connection, _SO_SNDBUFFORCE, socket.SO_SNDBUF, window)


def _bind(connection: socket.socket, family: socket.AddressFamily, options: SocketOptions) -> None:
    """Choose the way out of this machine, and mark the packets: from the first one on."""
    if options.interface is not None:
        name = options.interface.encode("ascii")
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        except OSError as error:
            raise OSError(errno.ENODEV, "") from error
    if options.source_address is not None:
        is_ipv6 = ":" in options.source_address
        if is_ipv6 != (family == socket.AF_INET6):
            raise OSError(errno.EADDRNOTAVAIL, "")
        # The port is chosen with connect(): bound alone, all sources would share 28,000 ports.
        connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((options.source_address, 0))
    if options.dscp:
        # The field is the upper six bits of the old Type of Service octet.
        octet = options.dscp << 2
        if family == socket.AF_INET6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, octet)
        else:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, octet)


def _set_buffer(connection: socket.socket, forced: int, plain: int, size: int) -> None:
    """Root's word counts above net.core.rmem_max; anybody else's is cut there, silently."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        connection.setsockopt(socket.SOL_SOCKET, plain, size)


def _show(portal: Portal, address: str) -> str:
    return str(portal) if portal.host == address else f"{portal} ({address})"
