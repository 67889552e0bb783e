"""Keeps the daemon alive and moving when root or swap lives on a session that is down.

Its memory stays in memory, the out-of-memory killer spares it, and its allocations do not wait
for writeback, which may be waiting for the very session that must be resumed. May touch this
process's own attributes in the kernel. A refusal is never fatal: it is logged, and the daemon is
less protected. Workers give all of it up again (``workers.sandbox``).
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from iscsid.process.prctl import Option, prctl

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
"""Of mlockall(2)."""
SPARED = -1000
"""Of /proc/PID/oom_score_adj, proc(5): never chosen."""
DESCRIPTORS = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def protect() -> list[str]:
    """Do all of it, and return a line for each thing that was refused.

    Called once, when every module is imported and all the daemon's long-lived values are made.
    """
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("keeping its memory from being swapped out", _lock_memory),
        ("being spared by the out-of-memory killer", _be_spared),
        ("allocating without waiting for writeback", _be_io_flusher),
        ("holding more open files", _raise_descriptor_limit),
    )
    refusals = []
    # What exists now stays for ever: let the collector, and the pages it would touch in every
    # forked worker, leave it alone.
    gc.collect()
    gc.freeze()
    for what, step in steps:
        try:
            step()
        except (OSError, ValueError) as error:
            refusals.append(f"not protected by {what}: {error}")
    return refusals


def protect_helper() -> None:
    """Protect the process that forks the workers; a refusal is already logged for the daemon.

    Its memory is locked as it is touched: to fill in what it shares with the daemon would copy it.
    """
    for step in (_lock_memory_on_fault, _be_spared, _be_io_flusher):
        with suppress(OSError, ValueError):
            step()


def _lock_memory() -> None:
    # First everything mapped now, faulted in at once; then what will be mapped later, locked only
    # as it is touched. With MCL_FUTURE alone every new stack and arena would be filled in advance.
    _mlockall(MCL_CURRENT)
    _mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)


def _lock_memory_on_fault() -> None:
    _mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)


def _be_spared() -> None:
    Path("/proc/self/oom_score_adj").write_text(str(SPARED))


def _be_io_flusher() -> None:
    prctl(Option.SET_IO_FLUSHER, 1)  # since Linux 5.6


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _mlockall(flags: int) -> None:
    if _libc.mlockall(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
