"""The resolver job: looks up the addresses of one host name.

It runs in a worker of its own, because the answer of a name server is parsed there: this worker
holds no secret, and the worker that logs in needs no socket but the one it is given. May use the
resolver of the C library. Runs inside a worker.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from iscsid.errors import InvalidName
from iscsid.jobs import JobId, ResolveJob
from iscsid.protocol.names import Portal, parse_portal, why_unusable
from iscsid.workers.reporter import Reporter

Address = tuple[socket.AddressFamily, tuple[str | bytes | int, ...]]

_NAME_FILES = ("/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf")

ADDRESSES = 16
"""The most addresses of one name that are tried."""


@dataclass(frozen=True, slots=True)
class HostResolved:
    """The addresses of a host, as portals; ``error`` of getaddrinfo(3) if there are none."""

    job_id: JobId
    portals: tuple[Portal, ...]
    error: int = 0
    unreadable: tuple[str, ...] = ()
    """The name service's files that this worker could not read: glibc ignores them."""


def resolve(job: ResolveJob, reporter: Reporter) -> None:
    """Do the job."""
    try:
        found = look_up(job.portal, 0)
    except socket.gaierror as error:
        code = error.errno or socket.EAI_FAIL
        reporter.report(HostResolved(job.id, (), code, tuple(_unreadable_files())))
        return
    portals = []
    for _, address in found:
        host = str(address[0])
        try:
            portal = parse_portal(f"[{host}]" if ":" in host else host, job.portal.port)
        except InvalidName:
            continue
        if why_unusable(portal) is None:
            portals.append(portal)
    reporter.report(HostResolved(job.id, tuple(portals), 0 if portals else socket.EAI_NODATA))


def look_up(portal: Portal, flags: int) -> list[Address]:
    """Return families and socket addresses, at most ``ADDRESSES``; raises ``socket.gaierror``."""
    # As octets, because for a string Python would load its codec for international names first,
    # from a disk that may be waiting for this very login.
    found = socket.getaddrinfo(
        portal.host.encode("ascii"),
        portal.port,
        type=socket.SOCK_STREAM,
        proto=socket.IPPROTO_TCP,
        flags=flags | socket.AI_NUMERICSERV,
    )
    addresses: dict[Address, None] = {(family, address): None for family, _, _, _, address in found}
    return list(addresses)[:ADDRESSES]


def _unreadable_files() -> Iterator[str]:
    for path in _NAME_FILES:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except PermissionError:
            yield path
        except OSError:
            continue  # a file that is not there changes nothing
