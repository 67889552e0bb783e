"""What a worker gives up: the daemon's protection, its privileges, and most of its means.

``give_up_protection`` is for every worker. ``confine`` is for those that parse bytes from the
network, and is called before the first such byte. Touches only this process, and is never called
in the daemon itself.
"""

from __future__ import annotations

import os
import pwd
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iscsid.process.prctl import Option, prctl

MIBIBYTE = 1 << 20
MEMORY = 128 * MIBIBYTE
"""What a worker may use beyond what it was born with. Ten thousand targets take a tenth of it."""
PROCESSOR_SECONDS = 30
"""A login takes about ten milliseconds of it, so this is for a worker that runs in circles."""
DESCRIPTORS = 1024
"""A worker needs a handful; but the kernel also holds against this number the sockets that all
workers together, being one user, have sent and the daemon has not yet received (unix(7))."""

Confine = Callable[[], None]
"""Gives up privileges, if that is still to be done: called before an octet from the network is
read, be it a name server's or the target's."""

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class UserIds:
    """Whom a confined worker runs as."""

    uid: int
    gid: int


def find_unprivileged_identity() -> UserIds:
    """Look up ``nobody``. Done in the daemon at its start: a worker may have no disk to read."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return UserIds(_NOBODY, _NOBODY)
    return UserIds(entry.pw_uid, entry.pw_gid)


def give_up_protection() -> None:
    """Become an ordinary process to the kernel's memory management.

    The daemon is spared by the out-of-memory killer and allocates without waiting for writeback;
    its workers must not be able to eat the memory that this sets aside. Locked memory needs no
    word here: a fork does not inherit it (mlockall(2)).
    """
    try:
        Path("/proc/self/oom_score_adj").write_bytes(b"0")
        prctl(Option.SET_IO_FLUSHER, 0)
    except OSError:
        # Without privileges, or before Linux 5.6, there was nothing to give up.
        pass


def confine(identity: UserIds) -> None:
    """Lower the limits, drop root for good, and forbid every way back.

    Raises ``OSError`` where a step fails: then the worker must not go on.
    """
    for limit, value in (
        (resource.RLIMIT_AS, _address_space() + MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR_SECONDS),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _lower(limit, value)
    if os.geteuid() == 0:
        _become(identity)
    prctl(Option.SET_NO_NEW_PRIVS, 1)
    # Not dumpable: no other process of the same user may look into this one, where secrets are.
    prctl(Option.SET_DUMPABLE, 0)


def allow_more_processor_time() -> None:
    """Give a worker that stays for days the time of one more round."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + PROCESSOR_SECONDS
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _become(identity: UserIds) -> None:
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise PermissionError("root's privileges could not be dropped")


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    if hard >= 0:
        value = min(value, hard)
    # Processor time must be renewed for a worker that stays, so its hard limit is left alone.
    resource.setrlimit(limit, (value, hard if limit == resource.RLIMIT_CPU else value))


def _address_space() -> int:
    # As octets: a codec that was not used before would be loaded from the disk.
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()
