"""Why a connection could not be made or broke: from the system's number to words and advice.

The one table for errno and for the errors of the resolver. Pure.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from iscsid.errors import ConnectionFailed, Retry

_TARGET_RUNS = "make sure that the target runs and listens on this address and port"
_NETWORK = "look at the interface, its address and the routes (ip addr, ip route)"
_PATH = "look at the cable, the switch and the firewalls on the way, and whether the target runs"
_MEANS = "the machine is short of memory or descriptors: end other work, or raise its limits"
_RESOLVER = "look at /etc/resolv.conf and the name service, or write the address as a number"
_NAME = "correct the name in the configuration, or enter it in the name service or /etc/hosts"


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the table."""

    words: str
    advice: str
    retry: Retry = Retry.SOON


BY_ERRNO: dict[int, Reason] = {
    errno.ECONNREFUSED: Reason("connection refused", _TARGET_RUNS),
    errno.EHOSTUNREACH: Reason("no route to the host", _PATH),
    errno.EHOSTDOWN: Reason("the host is down", _PATH),
    errno.ENETUNREACH: Reason("the network is unreachable", _NETWORK),
    errno.ENETDOWN: Reason("the network is down", _NETWORK),
    errno.ETIMEDOUT: Reason("no answer in time", _PATH),
    errno.ECONNRESET: Reason("the connection was reset", "look into the target's log"),
    errno.ECONNABORTED: Reason("the connection was aborted", "look into the target's log"),
    errno.EPIPE: Reason("the target has closed the connection", "look into the target's log"),
    errno.ENOTCONN: Reason("the connection is gone", "look into the target's log"),
    errno.EADDRNOTAVAIL: Reason("no local address fits", _NETWORK),
    errno.ENODEV: Reason("the interface named for it does not exist", _NETWORK),
    errno.ENXIO: Reason("the interface named for it does not exist", _NETWORK),
    errno.EACCES: Reason("forbidden on this machine", "look at its firewall's rules"),
    errno.EPERM: Reason("forbidden on this machine", "look at its firewall's rules"),
    # The error of connect(2) for an IPv6 link-local address without a scope.
    errno.EINVAL: Reason(
        "the address cannot be connected to",
        "a link-local address needs its interface: fe80::1%eth0",
        Retry.LATER,
    ),
    errno.EAFNOSUPPORT: Reason(
        "this machine does not have this family of addresses",
        "enable IPv6, or use an IPv4 address",
        Retry.LATER,
    ),
    errno.EMFILE: Reason("too many descriptors are open in this process", _MEANS),
    errno.ENFILE: Reason("too many descriptors are open on this machine", _MEANS),
    errno.ENOBUFS: Reason("no buffer space", _MEANS),
    errno.ENOMEM: Reason("not enough memory", _MEANS),
    errno.EAGAIN: Reason("too many processes, or not enough memory", _MEANS),
}

BY_RESOLVER: dict[int, Reason] = {
    socket.EAI_AGAIN: Reason("the name service does not answer", _RESOLVER),
    socket.EAI_FAIL: Reason("the name service failed", _RESOLVER),
    socket.EAI_MEMORY: Reason("not enough memory", _MEANS),
    # At boot a name may be asked for before the network is complete, so this is tried again.
    socket.EAI_NONAME: Reason("no such name is known", _NAME, Retry.LATER),
    socket.EAI_NODATA: Reason("the name has no address", _NAME, Retry.LATER),
    socket.EAI_ADDRFAMILY: Reason("the name has no usable address", _NAME, Retry.LATER),
}


def connection_failed(doing: str, error: OSError) -> ConnectionFailed:
    """Word an ``OSError`` met while ``doing`` ("connecting to 192.0.2.1:3260").

    A ``TimeoutError`` of Python's own, which bears no number, counts as ETIMEDOUT.
    """
    if isinstance(error, socket.gaierror):
        row = BY_RESOLVER.get(error.errno or 0) or Reason(str(error.strerror), _RESOLVER)
    else:
        row = explain(errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno)
    return ConnectionFailed(f"{doing}: {row.words}", advice=row.advice, retry=row.retry)


def name_files_unreadable(doing: str, error: OSError, files: Sequence[str]) -> ConnectionFailed:
    """Word the error of a look-up that could not read some of the name service's ``files``."""
    without_files = connection_failed(doing, error)
    these = " and ".join(files)
    what = f"{without_files.what}, and {these} cannot be read by the unprivileged worker"
    advice = f"let everybody read what has no secrets: chmod a+r {' '.join(files)}"
    return ConnectionFailed(what, advice=advice, retry=Retry.LATER)


def timed_out(doing: str, limit: str) -> ConnectionFailed:
    """Return the failure that ``doing`` took longer than its ``limit`` ("15 s")."""
    return ConnectionFailed(f"{doing}: no answer within {limit}", advice=_PATH)


def together(failures: Sequence[ConnectionFailed]) -> ConnectionFailed:
    """Make one error of those of several addresses; the last one's advice stands for all."""
    last = failures[-1]
    what = "; ".join(failure.what for failure in failures)
    return ConnectionFailed(what, advice=last.advice, retry=last.retry)


def explain(code: int | None) -> Reason:
    """Return the row of an errno; one that is not listed gets the system's own words."""
    if code is None:
        return Reason("an unknown error", "")
    name = errno.errorcode.get(code, str(code))
    return BY_ERRNO.get(code) or Reason(f"{os.strerror(code)} ({name})", "")
