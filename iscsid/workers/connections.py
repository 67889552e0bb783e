"""Begins the TCP connections that workers ask for. Lives in the daemon.

A worker that talks to a target may make no socket itself (``sandbox``). The daemon makes it, sets
its options, which needs root for large buffers, and begins to connect; the worker gets the socket
and waits. Nothing here blocks, and no octet is read or written.
"""

from __future__ import annotations

import errno
import socket

from iscsid.config.settings import SocketOptions
from iscsid.protocol.names import Portal
from iscsid.workers.resolver import look_up
from iscsid.workers.transport import ask_after_silence

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
"""Of asm-generic/socket.h, which Python's library does not name."""
_IP_BIND_ADDRESS_NO_PORT = 24
"""Of linux/in.h, which Python 3.11 does not name."""
_SILENCE, _REPLY = 60, 60
"""Seconds of silence before TCP asks whether the target is there, and for the answer."""


def begin_connection(portal: Portal, window: int, options: SocketOptions) -> socket.socket:
    """Return a socket that connects to ``portal``, whose host is an address.

    ``window`` is the size of the socket's buffers in octets, 0 for the kernel's own choice. Raises
    ``OSError``.
    """
    try:
        ((family, address), *_) = look_up(portal, socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        # The address itself is valid, so what is unknown is the interface behind the %.
        raise OSError(errno.ENODEV, "") from error
    connection = socket.socket(
        family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP
    )
    try:
        _set_options(connection, window)
        _bind(connection, family, options)
        code = connection.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "")
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
    """Root may exceed net.core.rmem_max; for other users the size is cut there, silently."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        connection.setsockopt(socket.SOL_SOCKET, plain, size)
