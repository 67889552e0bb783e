"""What ``ps`` shows for a process: the command line, rewritten in place.

The kernel reads a process's command line from the process's own memory, so writing there is all
it takes (proc(5), setproctitle(3) of the BSDs). /proc/self/stat shows the place; the daemon
finds it and makes it free, once, for all the workers it will fork. Where any of this is impossible
the old title stays, and nothing else happens. Touches only this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from iscsid.process.prctl import set_name

_STAT = Path("/proc/self/stat")
_ARG_START, _ARG_END, _ENV_START, _ENV_END = 45, 46, 47, 48
"""Places in /proc/PID/stat, counted from the field behind the command's name (proc(5))."""


@dataclass(frozen=True, slots=True)
class TitleBuffer:
    """Where a process's command line lies, and how many octets may be written there."""

    start: int = 0
    room: int = 0


def find_title_buffer() -> TitleBuffer:
    """Find the place of the title, and free it of all else. Called in the daemon, at its start.

    The text may run on into where the environment's strings lie. Taken out and put back, they lie
    elsewhere.
    """
    try:
        place = _read_place(_STAT.read_bytes())
    except (OSError, ValueError, IndexError):
        return TitleBuffer()
    environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    return place


def set_title(title: str, place: TitleBuffer) -> None:
    """Show ``title`` as this process's command line, cut to the room there is."""
    with contextlib.suppress(OSError):
        set_name(title)
    if place.room > 1:
        octets = title.encode()[: place.room - 1]
        ctypes.memset(place.start, 0, place.room)
        ctypes.memmove(place.start, octets, len(octets))


def _read_place(stat: bytes) -> TitleBuffer:
    fields = stat.rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    if end == int(fields[_ENV_START]):
        end = int(fields[_ENV_END])
    return TitleBuffer(start, end - start)
