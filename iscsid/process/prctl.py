"""The few calls of prctl(2) that the daemon and its workers need; Python's library has none.

Touches the calling process alone.
"""

from __future__ import annotations

import ctypes
import os
from enum import IntEnum

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


class Option(IntEnum):
    """Numbers of linux/prctl.h."""

    SET_PDEATHSIG = 1
    SET_DUMPABLE = 4
    SET_NAME = 15
    SET_SECCOMP = 22
    SET_NO_NEW_PRIVS = 38
    SET_IO_FLUSHER = 57


def prctl(option: Option, argument: int, second: int = 0) -> None:
    """Set ``option``; raises ``OSError`` if the kernel does not know or not allow it."""
    if _prctl(option, argument, second, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option.name}: {os.strerror(code)}")


def set_name(name: str) -> None:
    """Name the process as ``top`` and ``killall`` show it; the kernel keeps 15 bytes."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    prctl(Option.SET_NAME, ctypes.addressof(text))
