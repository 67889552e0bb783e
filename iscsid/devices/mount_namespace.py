"""The mounts of a mount namespace that no process is in: a descriptor or a mount keeps it alive.

Enters the namespace and comes back, so it must run in a process of its own, without threads.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNS = 0x00020000


def mounts_of_namespace(path: str) -> str:
    """Return the table of mounts of the namespace that ``path`` keeps alive.

    Raises ``OSError``.
    """
    with _opened("/proc/self/ns/mnt") as home, _opened(path) as there:
        with _opened("/proc/self", os.O_DIRECTORY) as process:
            _set_namespace(there)
            try:
                # Opened by way of the directory: there may be no /proc in there.
                with _opened("mountinfo", directory=process) as file:
                    return b"".join(iter(lambda: os.read(file, 1 << 16), b"")).decode(
                        errors="replace"
                    )
            finally:
                _set_namespace(home)


@contextmanager
def _opened(path: str, flags: int = 0, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
