"""What a worker gives up: the daemon's protection, its privileges, and most of its means.

``give_up_protection`` is for every worker. ``confine`` is for those that parse octets from the
network, and is called before they get their first job. Each of them is a user of its own, so that
a worker that was taken over by its target reaches neither the others nor a process of the system.
Touches only this process, and is never called in the daemon itself.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from iscsid.process.prctl import Option, prctl
from iscsid.workers import seccomp


class Confinement(Enum):
    """How much a worker gives up before it gets its first job."""

    PRIVILEGED = auto()
    """Nothing but the daemon's protection."""
    RESOLVER = auto()
    """Root, and most means; it may make sockets, to ask a name server."""
    TARGET = auto()
    """Root, most means, and sockets: the daemon makes its connections."""


MIBIBYTE = 1 << 20
MEMORY = 128 * MIBIBYTE
"""What a worker may use beyond what it inherited. Ten thousand targets take a tenth of it."""
PROCESSOR_SECONDS = 30
"""A login takes about two milliseconds of it, so this is for a worker in an endless loop."""
PROCESSOR_SECONDS_USED = 10
"""When a worker has used so many, it takes no further job, and ends a discovery that it keeps."""
DESCRIPTORS = 64
FIRST_USER = 2_040_000_000
"""The users and groups of workers begin here. The table of systemd (systemd.io/UIDS-GIDS) leaves
1879048192 to 2147483647 unassigned, and neither useradd(8) nor containers take numbers there."""
USERS = 65536
_NOBODY = 65534


def give_up_protection() -> None:
    """Become an ordinary process to the kernel's memory management.

    The daemon is spared by the out-of-memory killer and allocates without waiting for writeback;
    its workers must not be able to use up the memory that this sets aside. Locked memory is not
    inherited (mlockall(2)).
    """
    try:
        Path("/proc/self/oom_score_adj").write_bytes(b"0")
        prctl(Option.SET_IO_FLUSHER, 0)
    except OSError:
        # Without privileges, or before Linux 5.6, there was nothing to give up.
        pass


def depend_on_parent(parent: int) -> None:
    """Die when the parent dies. The kernel forgets this when the user changes (prctl(2))."""
    prctl(Option.SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(confinement: Confinement, place: int, parent: int) -> list[str]:
    """Lower the limits, drop root for good, and forbid every way back.

    ``place`` is the number of this worker among those that live, from 0. Return what the kernel
    does not offer. Raises ``OSError`` if a necessary step fails: then the worker must not go on.
    """
    for limit, value in (
        (resource.RLIMIT_AS, _address_space() + MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR_SECONDS),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _lower(limit, value)
    missing = list(_become(FIRST_USER + place % USERS)) if os.geteuid() == 0 else []
    depend_on_parent(parent)
    prctl(Option.SET_NO_NEW_PRIVS, 1)
    # Not dumpable: no process of the same user may look into this one, where secrets are.
    prctl(Option.SET_DUMPABLE, 0)
    try:
        is_resolver = confinement is Confinement.RESOLVER
        seccomp.install(seccomp.SOCKETS if is_resolver else frozenset())
    except OSError as error:
        missing.append(f"forbidding system calls (seccomp): {error.strerror}")
    return missing


def processor_time_is_short() -> bool:
    """Whether this process has used so much that it should not begin anything more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime > PROCESSOR_SECONDS_USED


def _become(user: int) -> Iterator[str]:
    os.setgroups([])
    try:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as error:
        # In a user namespace only a few numbers exist, and nobody's is always one of them.
        yield f"a user of its own for each worker: {error.strerror}"
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise PermissionError("root's privileges could not be dropped")


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    if hard >= 0:
        value = min(value, hard)
    # SIGXCPU at the soft limit names the reason; the hard one would be a plain SIGKILL.
    resource.setrlimit(limit, (value, value + (limit == resource.RLIMIT_CPU)))


def _address_space() -> int:
    # As octets: a codec that was not used before would be loaded from the disk.
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()
